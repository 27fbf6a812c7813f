"""Decoding compressed pixels in processes of their own, each with a limit of memory and a deadline.

A codec is C code that reads what comes from outside. Where one crashes, hangs or takes too much
memory, its process ends and the image is refused; the next image gets a new process. A process
starts when one is first needed, serves one image at a time, and ends with this one.

The processes are started by hand, not by `multiprocessing`, which would run the main module of
the program that embeds this package again.
"""

import atexit
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import IO, Any, Final, cast

import numpy as np
import numpy.typing as npt

from cxr_edge.errors import DecoderFailed, Truncated
from cxr_edge.images.dicom.layout import Layout
from cxr_edge.images.dicom.messages import read_message, write_message
from cxr_edge.images.limits import MEBIBYTE, MEGA, InputLimits
from cxr_edge.support.parallel import usable_cores

#: What a process has for any image, whatever its size.
DECODE_SECONDS: Final = 0.5
DECODE_BYTES: Final = 128 * MEBIBYTE
#: A process that cannot say that it is ready within this time does not start here.
START_SECONDS: Final = 60.0

#: The child takes this process's module path, and no environment or working directory that could change it.
_CHILD: Final = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from cxr_edge.images.dicom.decoder_process import serve; serve()"
)

#: Keeps a console from opening over a scanner's screen on Windows; 0 elsewhere.
_NO_WINDOW: Final[int] = getattr(subprocess, "CREATE_NO_WINDOW", 0)


def decode_isolated(syntax: str, stream: bytes, layout: Layout, limits: InputLimits) -> npt.NDArray[Any]:
    """Decode a codestream in another process.

    Parameters
    ----------
    syntax : str
        UID of the transfer syntax.
    stream : bytes
    layout : Layout
        What the header says; it sets the deadline and the memory.
    limits : InputLimits

    Returns
    -------
    ndarray
        As `cxr_edge.images.dicom.codecs.decode_samples`.

    Raises
    ------
    Truncated
        The codec refuses the stream.
    DecoderFailed
        The process crashed, or met a limit.
    """
    seconds = DECODE_SECONDS + limits.decode_seconds_per_megapixel * layout.count / MEGA
    memory = DECODE_BYTES + len(stream) + limits.decode_bytes_per_sample * layout.count
    request = {"syntax": syntax, "bits_allocated": layout.bits_allocated, "memory": memory, "bytes": len(stream)}
    with _processes().one() as process:
        answer, samples = process.ask(request, stream, seconds)
    if answer["status"] == "memory":
        raise DecoderFailed(f"decoding took more than {memory // MEBIBYTE} MiB; the image is damaged, or made to harm")
    if answer["status"] == "refused":
        raise Truncated(f"the compressed pixels are damaged ({answer['error']}); copy the file again")
    return np.frombuffer(samples, answer["dtype"]).reshape(answer["shape"])


class _Process:
    """A process that decodes, and the pipe to it."""

    def __init__(self) -> None:
        if not sys.executable:
            raise DecoderFailed(
                "no Python interpreter to start for decoding (sys.executable is empty); "
                "set Reading(isolated=False) to decode trusted images in this process"
            )
        try:
            self._child = subprocess.Popen(  # noqa: S603 - our own interpreter and our own code
                [sys.executable, "-I", "-c", _CHILD, json.dumps(sys.path)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                creationflags=_NO_WINDOW,
            )
        except OSError as error:
            raise DecoderFailed(f"the process that decodes cannot be started ({error.strerror})") from error
        self._requests = cast(IO[bytes], self._child.stdin)
        self._answers = cast(IO[bytes], self._child.stdout)
        self.usable = True
        with self._deadline(START_SECONDS):
            self._answer()

    @property
    def alive(self) -> bool:
        """Tell whether it still runs."""
        return self._child.poll() is None

    def ask(self, request: dict[str, Any], stream: bytes, seconds: float) -> tuple[dict[str, Any], bytes]:
        """Send a request and wait for its answer, for so long."""
        with self._deadline(seconds):
            write_message(self._requests, request, stream)
            return self._answer()

    def close(self) -> None:
        """End the process."""
        self.usable = False
        self._child.kill()
        self._child.wait()
        self._answers.close()
        with suppress(OSError):  # what it no longer read
            self._requests.close()

    def _answer(self) -> tuple[dict[str, Any], bytes]:
        if (message := read_message(self._answers)) is None:
            raise EOFError
        return message

    @contextmanager
    def _deadline(self, seconds: float) -> Iterator[None]:
        late = threading.Event()

        def stop() -> None:
            late.set()
            self._child.kill()

        timer = threading.Timer(seconds, stop)
        timer.daemon = True
        timer.start()
        try:
            yield
        except (EOFError, OSError) as error:
            self.close()
            why = f"met its deadline of {seconds:.1f} s" if late.is_set() else "crashed"
            raise DecoderFailed(
                f"the process that decodes {why}; the image is damaged, or made to harm: do not send it again"
            ) from error
        finally:
            timer.cancel()


class _Processes:
    """At most one process for each core, started when needed."""

    def __init__(self) -> None:
        self.owner = os.getpid()
        self._free = threading.BoundedSemaphore(usable_cores())
        self._idle: list[_Process] = []
        atexit.register(self.close)

    @contextmanager
    def one(self) -> Iterator[_Process]:
        """Lend a process."""
        with self._free:
            process = self._take() or _Process()
            try:
                yield process
            finally:
                if process.usable:
                    self._idle.append(process)

    def _take(self) -> _Process | None:
        """Give an idle process that has not been ended meanwhile, as by a system short of memory."""
        while self._idle:
            process = self._idle.pop()
            if process.alive:
                return process
            process.close()
        return None

    def close(self) -> None:
        """End the idle processes, unless they belong to the process this one was forked from."""
        while self._idle and self.owner == os.getpid():
            self._idle.pop().close()


_lock = threading.Lock()
_shared: _Processes | None = None


def _processes() -> _Processes:
    """Give this process's own; one that was forked must not talk through its parent's pipes."""
    global _shared
    with _lock:
        if _shared is None or _shared.owner != os.getpid():
            _shared = _Processes()
        return _shared
