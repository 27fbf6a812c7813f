"""A decoder process as its parent sees it: start it, ask it, and end it when it is late."""

import io
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final, cast

from cxr_edge._version import __version__
from cxr_edge.errors import DecoderFailed, DecoderUnavailable
from cxr_edge.images.dicom.decoders.launch import NO_WINDOW, WITHOUT, decoder_command, decoder_environment
from cxr_edge.images.dicom.decoders.messages import read_message, write_message
from cxr_edge.images.dicom.decoders.watch import Watch
from cxr_edge.support.text import printable

#: Time in which a process must report that it is ready; its start is our own code, slow only on a busy machine.
START_SECONDS: Final = 120.0
#: Time, by the clock on the wall, after which a process counts as frozen: this, and so many times its CPU time.
FROZEN_SECONDS: Final = 30.0
FROZEN_FACTOR: Final = 20.0

#: Most characters of a process's last line that are passed on.
_WORDS: Final = 300


class _Ended(Exception):
    """The process ended, or was ended, before it answered."""

    def __init__(self, watch: Watch, last_words: str) -> None:
        super().__init__()
        self.watch, self.last_words = watch, last_words


class Decoder:
    """A decoder process and the pipes to it.

    Parameters
    ----------
    python : str or None
        The interpreter to start; None to find it.

    Raises
    ------
    DecoderUnavailable
        It cannot be started here.
    """

    def __init__(self, python: str | None) -> None:
        try:
            self._child = subprocess.Popen(  # noqa: S603 - our own interpreter and our own code
                decoder_command(python),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                bufsize=0,
                env=decoder_environment(python),
                creationflags=NO_WINDOW,
            )
        except OSError as error:
            raise DecoderUnavailable(
                f"the decoder process cannot be started ({error.strerror}); give this user more memory and processes, "
                f"{WITHOUT}"
            ) from error
        self._requests = cast(io.FileIO, self._child.stdin)
        self._answers = cast(io.FileIO, self._child.stdout)
        self._errors = cast(io.FileIO, self._child.stderr)
        self.usable = True
        self._await_start()

    @property
    def alive(self) -> bool:
        """Return whether the process still runs."""
        return self._child.poll() is None

    def ask(self, request: dict[str, Any], stream: bytes, seconds: float) -> tuple[dict[str, Any], bytearray]:
        """Send a request and wait for its answer.

        Parameters
        ----------
        request : dict
        stream : bytes
        seconds : float
            CPU time of the process for this request. However busy the machine is, the image has all of it.

        Raises
        ------
        DecoderFailed
        """
        wall_seconds = FROZEN_SECONDS + FROZEN_FACTOR * seconds
        self.usable = False  # until it has answered: after an interrupt, its answer would be taken for the next image's
        try:
            with self._watched(wall_seconds, seconds):
                write_message(self._requests, {**request, "seconds": seconds}, stream)
                answer = self._answer()
        except _Ended as end:
            if end.watch.used_up:
                why = f"the decoder used up its {seconds:.1f} s of CPU time"
                todo = "export it again, or raise decode_seconds_per_megapixel"
            elif end.watch.frozen:
                why = f"the decoder process did not answer within {wall_seconds:.0f} s"
                todo = "try again when the machine is less busy, or export it again"
            else:
                why, todo = "the decoder process crashed", "copy or export it again"
            raise DecoderFailed(f"{why}; the image may be damaged: {todo}") from end
        self.usable = True
        return answer

    def close(self) -> None:
        """End the process."""
        self._end()

    def forget(self) -> None:
        """Close the pipes to the process, which may be another's: after a fork it belongs to the parent."""
        self.usable = False
        self._child.poll()  # notes that it is no child of this process, if it is not
        for pipe in (self._answers, self._errors, self._requests):
            with suppress(OSError):  # data that the process did not read
                pipe.close()

    def _await_start(self) -> None:
        try:
            with self._watched(START_SECONDS, START_SECONDS):
                ready, _ = self._answer()
        except _Ended as end:
            why = f"no answer within {START_SECONDS:.0f} s" if end.watch.frozen else end.last_words
            raise DecoderUnavailable(
                f"the decoder process did not start ({why}), so the image was not read; correct the installation or "
                f"the limits of this process, {WITHOUT}"
            ) from end
        self._errors.close()
        if ready["version"] != __version__:
            self.close()
            raise DecoderUnavailable(
                f"expected a decoder process of cxr-edge {__version__}, got {ready['version']}; name a Python that has "
                f"the same version, {WITHOUT}"
            )

    def _answer(self) -> tuple[dict[str, Any], bytearray]:
        if (message := read_message(self._answers)) is None:
            raise EOFError
        return message

    @contextmanager
    def _watched(self, wall_seconds: float, cpu_seconds: float) -> Iterator[None]:
        """End the process when it is late; raise if it ends before its answer."""
        watch = Watch(self._child, wall_seconds, cpu_seconds)
        try:
            yield
        except (EOFError, OSError, ValueError) as error:  # it ended, or what it writes is no message
            raise _Ended(watch, self._end()) from error
        finally:
            watch.stop()

    def _end(self) -> str:
        """End the process; return the last line that it wrote to standard error while it started."""
        self._child.kill()
        self._child.wait()
        lines = [] if self._errors.closed else self._errors.read().decode(errors="replace").split("\n")
        self.forget()
        written = [printable(line.strip()) for line in lines if line.strip()]
        return written[-1][:_WORDS] if written else f"it ended with status {self._child.returncode}"
