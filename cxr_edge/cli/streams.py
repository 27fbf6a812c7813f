"""Standard streams that are closed, or that cannot be written: one clean outcome for every command.

A service, a scheduled task or ``pythonw`` starts a program without some of them. Python then sets them to None, and the
next file to be opened would take the number of one, and get what libraries print.
"""

import io
import os
import sys
from typing import Any, Final, NoReturn, TextIO

import typer
from typer.core import TyperGroup

from cxr_edge.cli.shared import SOME_FAILED, USAGE
from cxr_edge.errors import OutputUnwritable
from cxr_edge.support.text import printable

_NAMES: Final = ("stdin", "stdout", "stderr")

#: Names of the streams that were closed when the command began.
closed: set[str] = set()


class Commands(TyperGroup):
    """Commands whose streams are all usable, and that end in one line where standard output cannot be written."""

    def main(self, *args: Any, **options: Any) -> Any:
        """Run a command."""
        _open_closed()
        _guard()
        try:
            try:
                return super().main(*args, **options)
            finally:
                sys.stdout.flush()
        except BrokenPipeError:  # the reader has what it wanted
            sys.exit(SOME_FAILED)
        except OutputUnwritable as error:
            _end(error)


def _end(error: OutputUnwritable) -> NoReturn:
    typer.echo(f"cxr-edge: {error.code}: {printable(str(error))}", err=True)
    sys.exit(USAGE)


class _Output(io.FileIO):
    """Standard output; nothing is written to it any more once that has failed."""

    def write(self, data: Any, /) -> int:
        if not data:
            return 0  # Typer tries a stream so, and ignores the answer
        try:
            return super().write(data) or 0
        except OSError as error:
            _silence(self.fileno())
            if isinstance(error, BrokenPipeError):
                raise
            raise OutputUnwritable(
                f"standard output cannot be written ({error.strerror}); correct that and run again"
            ) from error


class _Messages(io.FileIO):
    """Standard error; a message that nobody can read ends no command."""

    def write(self, data: Any, /) -> int:
        try:
            return super().write(data) or 0
        except OSError:
            _silence(self.fileno())
            return len(data)


def _open_closed() -> None:
    """Open the null device in the place of closed streams, so that no other file takes their numbers."""
    for number, name in enumerate(_NAMES):
        if getattr(sys, name) is None:
            closed.add(name)
            stream = os.open(os.devnull, os.O_RDWR)
            setattr(sys, name, os.fdopen(stream, "r" if number == 0 else "w", encoding="utf-8", closefd=False))
    if "stdout" in closed:
        typer.echo("cxr-edge: warning: standard output is closed; what is printed there is lost", err=True)


def _guard() -> None:
    """Put guarded streams in the place of the plain ones."""
    for name, kind in (("stdout", _Output), ("stderr", _Messages)):
        stream: TextIO = getattr(sys, name)
        if not isinstance(stream, io.TextIOWrapper):
            continue
        stream.reconfigure(errors="backslashreplace")  # a console that lacks a character must not end the run
        unbuffered = isinstance(stream.buffer, io.FileIO)  # by PYTHONUNBUFFERED
        # A terminal can be written to, and on Windows has a way of its own.
        if stream.isatty() or not (unbuffered or isinstance(getattr(stream.buffer, "raw", None), io.FileIO)):
            continue
        stream.flush()
        raw = kind(stream.fileno(), "w", closefd=False)
        guarded = io.TextIOWrapper(
            raw if unbuffered else io.BufferedWriter(raw),
            encoding=stream.encoding,
            errors=stream.errors,
            line_buffering=stream.line_buffering,
            write_through=stream.write_through,
        )
        setattr(sys, name, guarded)


def _silence(number: int) -> None:
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, number)
    os.close(null)
