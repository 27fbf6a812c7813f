"""Decode compressed pixels in separate processes, each with a limit of CPU time and of memory.

A codec is C code that reads untrusted data. If it crashes, hangs or takes too much memory, its
process ends and the image is refused; the next image gets a new process. A process starts when it
is first needed, serves one image at a time, and ends with this one.

The processes are started directly and not by `multiprocessing`, which would run the main module of
the embedding program again.
"""

import atexit
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import numpy as np

from cxr_edge.errors import DecoderFailed, DecoderUnavailable, Truncated
from cxr_edge.images.dicom.codestreams.codecs import Decoded
from cxr_edge.images.dicom.decoders.decoder import Decoder
from cxr_edge.images.dicom.decoders.launch import WITHOUT
from cxr_edge.images.dicom.header.layout import Layout
from cxr_edge.images.limits import MEBIBYTE, MEGA, InputLimits
from cxr_edge.support.parallel import usable_cores

#: CPU time and memory that a process has for any image, whatever its size.
DECODE_SECONDS: Final = 0.5
DECODE_BYTES: Final = 128 * MEBIBYTE


def decode_isolated(syntax: str, stream: bytes, layout: Layout, limits: InputLimits) -> Decoded:
    """Decode a codestream in another process.

    Parameters
    ----------
    syntax : str
        UID of the transfer syntax.
    stream : bytes
    layout : Layout
        Layout by the header; it determines the limits of CPU time and memory.
    limits : InputLimits

    Returns
    -------
    Decoded
        As from `cxr_edge.images.dicom.codestreams.codecs.decode_samples`.

    Raises
    ------
    Truncated
        The codec refuses the stream.
    DecoderFailed
        The process crashed, or exceeded a limit.
    DecoderUnavailable
        No process can be started here, or it lacks the codec.
    """
    seconds = DECODE_SECONDS + limits.decode_seconds_per_megapixel * layout.count / MEGA
    memory = DECODE_BYTES + len(stream) + limits.decode_bytes_per_sample * layout.count
    request = {"syntax": syntax, "bits_allocated": layout.bits_allocated, "memory": memory, "bytes": len(stream)}
    with _processes(limits.python).one() as process:
        answer, samples = process.ask(request, stream, seconds)
    if answer["status"] == "memory":
        raise DecoderFailed(
            f"the decoder needed more than the {memory // MEBIBYTE} MiB allowed; the image may be damaged: copy or "
            "export it again, or raise decode_bytes_per_sample"
        )
    if answer["status"] == "unavailable":
        raise DecoderUnavailable(
            f"the decoder process cannot load its codec ({answer['error']}), so the image was not read; install "
            f"imagecodecs again, {WITHOUT}"
        )
    if answer["status"] == "refused":
        raise Truncated(f"the compressed pixels are damaged ({answer['error']}); copy the file again")
    return Decoded(np.frombuffer(samples, answer["dtype"]).reshape(answer["shape"]), answer["surplus"])


class _Processes:
    """At most one process for each core, started when needed."""

    def __init__(self, python: str | None) -> None:
        self.owner = os.getpid()
        self._python = python
        self._free = threading.BoundedSemaphore(usable_cores())
        self._all: list[Decoder] = []
        self._idle: list[Decoder] = []
        atexit.register(self.close)

    @contextmanager
    def one(self) -> Iterator[Decoder]:
        """Lend a process."""
        with self._free:
            process = self._take() or self._start()
            try:
                yield process
            finally:
                if process.usable:
                    self._idle.append(process)
                else:
                    process.close()
                    self._all.remove(process)

    def _start(self) -> Decoder:
        process = Decoder(self._python)
        self._all.append(process)
        return process

    def _take(self) -> Decoder | None:
        """Return an idle process that still runs; a system short of memory may have ended some."""
        while self._idle:
            process = self._idle.pop()
            if process.alive:
                return process
            process.close()
            self._all.remove(process)
        return None

    def close(self) -> None:
        """End the idle processes, unless they belong to the process this one was forked from."""
        while self._idle and self.owner == os.getpid():
            self._idle.pop().close()

    def forget(self) -> None:
        """Leave the processes to the process that this one was forked from."""
        atexit.unregister(self.close)
        for process in self._all:
            process.forget()


_lock = threading.Lock()
_shared: dict[str | None, _Processes] = {}


def _processes(python: str | None) -> _Processes:
    """Return the decoder processes of this process, by interpreter; a fork must not use its parent's pipes."""
    with _lock:
        if any(processes.owner != os.getpid() for processes in _shared.values()):
            _forget()  # a host that forks without telling Python, as uWSGI does
        if python not in _shared:
            _shared[python] = _Processes(python)
        return _shared[python]


def _forget() -> None:
    """Leave the parent's processes to it: while this fork held a pipe to one, it would not end with the parent."""
    for processes in _shared.values():
        processes.forget()
    _shared.clear()


def _after_fork() -> None:
    global _lock
    _lock = threading.Lock()  # another thread may have held it
    _forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
