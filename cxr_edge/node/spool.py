"""Files that are on disk for good once a call returns."""

import os
import uuid
from collections.abc import Iterable
from pathlib import Path
from typing import Final

#: What a file is called until it is whole; hidden, and so taken for no film.
PREFIX: Final = ".cxr-edge-"
PART: Final = ".part"
#: For this user alone.
PRIVATE: Final = 0o600


def store(folder: Path, name: str, data: bytes, mode: int = PRIVATE) -> None:
    """Write a file whole or not at all, and flush it and its folder.

    Raises
    ------
    OSError
    """
    part = prepare(folder, data, mode)
    try:
        place(part, folder / name)
    except OSError:
        part.unlink(missing_ok=True)
        raise


def prepare(folder: Path, data: bytes, mode: int = PRIVATE) -> Path:
    """Write and flush a file under a name that does not count yet; see `place`.

    Raises
    ------
    OSError
        Nothing is left behind.
    """
    part = folder / f"{PREFIX}{uuid.uuid4().hex}{PART}"
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        part.unlink(missing_ok=True)
        raise
    return part


def place(part: Path, path: Path) -> None:
    """Give a prepared file its name, and flush the folder."""
    os.replace(part, path)
    flush(path.parent)


def flush(folder: Path) -> None:
    """Flush which files a folder holds."""
    if os.name != "posix":  # there a folder cannot be flushed, and the file system's log does it
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sweep(folder: Path, known: Iterable[str]) -> int:
    """Remove what an interruption left: parts, and files that nothing refers to. Give their number."""
    keep = set(known)
    left = [path for path in folder.iterdir() if path.name not in keep and path.is_file()]
    for path in left:
        path.unlink()
    return len(left)
