"""The decoder process: reads requests from standard input, writes samples to standard output."""

import io
import os
import signal
import sys
from pathlib import Path
from typing import Any

import imagecodecs  # noqa: F401 - a package that is missing must be told at the start
import numpy as np

from cxr_edge._version import __version__
from cxr_edge.images.dicom.codestreams.codecs import decode_samples
from cxr_edge.images.dicom.decoders.messages import read_message, write_message
from cxr_edge.images.dicom.decoders.watch import limit_cpu


def serve() -> None:
    """Answer requests until the pipe closes."""
    for number in (signal.SIGINT, signal.SIGTERM):  # they are for the parent; when that ends, the pipe closes
        signal.signal(number, signal.SIG_IGN)
    requests, answers = io.FileIO(0, "r"), io.FileIO(os.dup(1), "w")
    silence = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):  # what a codec prints must not get into the answers, nor fill a pipe that nobody reads
        os.dup2(silence, stream)
    write_message(answers, {"status": "ready", "version": __version__}, b"")
    while (message := read_message(requests)) is not None:
        _answer(answers, *message)


def _answer(answers: io.FileIO, request: dict[str, Any], stream: bytearray) -> None:
    _limit_memory(request["memory"])
    limit_cpu(request["seconds"])
    try:
        decoded = decode_samples(request["syntax"], bytes(stream), request["bits_allocated"])
        samples = np.ascontiguousarray(decoded.samples)
    except ImportError as error:  # imagecodecs imports a codec when it is first used
        write_message(answers, {"status": "unavailable", "error": str(error)}, b"")
    except MemoryError:
        write_message(answers, {"status": "memory"}, b"")
    except Exception as error:  # each codec has exceptions of its own
        write_message(answers, {"status": "refused", "error": type(error).__name__}, b"")
    else:
        head = {"status": "ok", "dtype": samples.dtype.str, "shape": samples.shape, "surplus": decoded.surplus}
        write_message(answers, head, samples.data.cast("B"))
    finally:
        limit_cpu(0)


def _limit_memory(allowance: int) -> None:
    """Limit the memory of this process to what it has plus an allowance in bytes; on Linux only."""
    if sys.platform != "linux":
        return
    import resource

    pages = int(Path("/proc/self/statm").read_bytes().split()[0])
    most = resource.getrlimit(resource.RLIMIT_AS)[1]
    wanted = pages * resource.getpagesize() + allowance
    resource.setrlimit(resource.RLIMIT_AS, (wanted if most == resource.RLIM_INFINITY else min(wanted, most), most))
