"""Write files: whole or not at all and, where asked for, flushed to disk."""

import hashlib
import os
import uuid
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final

from cxr_edge.errors import OutputUnwritable

#: Name of a file until it is whole: hidden, so that it is never taken for an input.
PREFIX: Final = ".cxr-edge-"
PART: Final = ".part"

#: Permissions before the user's mask: others may read, or this user alone.
READABLE: Final = 0o666
PRIVATE: Final = 0o600


def write_atomically(path: Path, data: bytes | Iterable[bytes], source: str = "") -> None:
    """Write a file whole or not at all.

    Parameters
    ----------
    path : Path
    data : bytes, or an iterable of them
    source : str
        What the data were made from, where several sources may write this file at the same time. A part that an
        interruption leaves behind is overwritten when the same source is written again.

    Raises
    ------
    OutputUnwritable
    """
    writer = hashlib.sha256(f"{path.name}\n{source}".encode()).hexdigest()[:32]
    part = path.with_name(f"{PREFIX}{writer}{PART}")
    try:
        with part.open("wb") as file:
            file.writelines([data] if isinstance(data, bytes) else data)
        os.replace(part, path)
    except BaseException as error:
        with suppress(OSError):
            part.unlink()
        if isinstance(error, OSError):
            raise OutputUnwritable.at(path, error) from error
        raise


def make_folder(folder: Path, option: str) -> None:
    """Make a folder, if it is missing, in one that exists.

    Raises
    ------
    OutputUnwritable
        It names the option that chooses another place.
    """
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise OutputUnwritable.at(error.filename or folder, error, option) from error


def store(folder: Path, name: str, data: bytes, mode: int = PRIVATE) -> None:
    """Write a file whole or not at all, and flush it and its folder.

    Raises
    ------
    OSError
    """
    part = prepare(folder, data, mode)
    try:
        place(part, folder / name)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def prepare(folder: Path, data: bytes, mode: int = PRIVATE) -> Path:
    """Write and flush a file under a temporary name; see `place`.

    Raises
    ------
    OSError
        The file cannot be written; nothing is left behind.
    """
    part = folder / f"{PREFIX}{uuid.uuid4().hex}{PART}"
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    return part


def place(part: Path, path: Path) -> None:
    """Rename a prepared file to its final path, and flush the folder."""
    os.replace(part, path)
    flush(path.parent)


def flush(folder: Path) -> None:
    """Flush the entries of a folder to disk."""
    if os.name != "posix":  # elsewhere a folder cannot be flushed; the file system's journal keeps it
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
