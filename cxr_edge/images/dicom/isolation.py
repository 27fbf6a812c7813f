"""Decode compressed pixels in separate processes, each with a deadline and a memory limit.

A codec is C code that reads untrusted data. If it crashes, hangs or takes too much memory, its
process ends and the image is refused; the next image gets a new process. A process starts when it
is first needed, serves one image at a time, and ends with this one.

The processes are started directly and not by `multiprocessing`, which would run the main module of
the embedding program again.
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

from cxr_edge.errors import DecoderFailed, Truncated
from cxr_edge.images.dicom.codecs import Decoded
from cxr_edge.images.dicom.layout import Layout
from cxr_edge.images.dicom.messages import read_message, write_message
from cxr_edge.images.limits import MEBIBYTE, MEGA, InputLimits
from cxr_edge.support.parallel import usable_cores

#: Time and memory that a process has for any image, whatever its size.
DECODE_SECONDS: Final = 0.5
DECODE_BYTES: Final = 128 * MEBIBYTE
#: Time in which a process must report that it is ready.
START_SECONDS: Final = 60.0

#: Messages for a process that exceeds its deadline in seconds, and for one that ends early.
_STARTING: Final = (
    "the decoder process did not start within {:.1f} s; the machine may be busy: try again",
    "the decoder process ended while it started; check the Python installation",
)
_DECODING: Final = (
    "the decoder process exceeded its deadline of {:.1f} s; the image may be damaged, or the machine busy: try again, "
    "raise decode_seconds_per_megapixel, or export the image again",
    "the decoder process crashed; the image may be damaged: copy or export it again",
)

#: The child takes this process's module path; no environment variable or working directory can change it.
_CHILD: Final = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from cxr_edge.images.dicom.decoder_process import serve; serve()"
)

#: Keeps a console window from opening on Windows; 0 elsewhere.
_NO_WINDOW: Final[int] = getattr(subprocess, "CREATE_NO_WINDOW", 0)


def decode_isolated(syntax: str, stream: bytes, layout: Layout, limits: InputLimits) -> Decoded:
    """Decode a codestream in another process.

    Parameters
    ----------
    syntax : str
        UID of the transfer syntax.
    stream : bytes
    layout : Layout
        Layout by the header; it determines the deadline and the memory limit.
    limits : InputLimits

    Returns
    -------
    Decoded
        As from `cxr_edge.images.dicom.codecs.decode_samples`.

    Raises
    ------
    Truncated
        The codec refuses the stream.
    DecoderFailed
        The process cannot be started, crashed, or exceeded a limit.
    """
    seconds = DECODE_SECONDS + limits.decode_seconds_per_megapixel * layout.count / MEGA
    memory = DECODE_BYTES + len(stream) + limits.decode_bytes_per_sample * layout.count
    request = {"syntax": syntax, "bits_allocated": layout.bits_allocated, "memory": memory, "bytes": len(stream)}
    with _processes().one() as process:
        answer, samples = process.ask(request, stream, seconds)
    if answer["status"] == "memory":
        raise DecoderFailed(
            f"the decoder needed more than the {memory // MEBIBYTE} MiB allowed; the image may be damaged: copy or "
            "export it again, or raise decode_bytes_per_sample"
        )
    if answer["status"] == "refused":
        raise Truncated(f"the compressed pixels are damaged ({answer['error']}); copy the file again")
    return Decoded(np.frombuffer(samples, answer["dtype"]).reshape(answer["shape"]), answer["surplus"])


class _Process:
    """A decoder process and the pipes to it."""

    def __init__(self) -> None:
        if not sys.executable:
            raise DecoderFailed(
                "no Python interpreter is known to start the decoder process with (sys.executable is empty); "
                "set InputLimits(isolated=False) to decode trusted images in this process"
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
            raise DecoderFailed(
                f"the decoder process cannot be started ({error.strerror}); check memory and the Python installation"
            ) from error
        self._requests = cast(IO[bytes], self._child.stdin)
        self._answers = cast(IO[bytes], self._child.stdout)
        self.usable = True
        with self._deadline(START_SECONDS, _STARTING):
            self._answer()

    @property
    def alive(self) -> bool:
        """Return whether the process still runs."""
        return self._child.poll() is None

    def ask(self, request: dict[str, Any], stream: bytes, seconds: float) -> tuple[dict[str, Any], bytes]:
        """Send a request and wait for its answer, at most for `seconds`."""
        with self._deadline(seconds, _DECODING):
            write_message(self._requests, request, stream)
            return self._answer()

    def close(self) -> None:
        """End the process."""
        self.usable = False
        self._child.kill()
        self._child.wait()
        self._answers.close()
        with suppress(OSError):  # data that the process did not read
            self._requests.close()

    def _answer(self) -> tuple[dict[str, Any], bytes]:
        if (message := read_message(self._answers)) is None:
            raise EOFError
        return message

    @contextmanager
    def _deadline(self, seconds: float, messages: tuple[str, str]) -> Iterator[None]:
        """End the process after `seconds`, and raise one of `messages` if it was late or ended early."""
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
            too_late, ended = messages
            raise DecoderFailed(too_late.format(seconds) if late.is_set() else ended) from error
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
        """Return an idle process that still runs; a system short of memory may have ended some."""
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
    """Return the decoder processes of this process; a fork must not use its parent's pipes."""
    global _shared
    with _lock:
        if _shared is None or _shared.owner != os.getpid():
            _shared = _Processes()
        return _shared
