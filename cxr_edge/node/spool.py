"""Files that are on disk for good once a call returns."""

import os
import tempfile
from collections.abc import Iterable
from pathlib import Path

#: What a file is called until it is whole.
PART = ".part"


def store(folder: Path, name: str, data: bytes) -> None:
    """Write a file whole or not at all, and flush it and its folder.

    Raises
    ------
    OSError
    """
    place(prepare(folder, data), folder / name)


def prepare(folder: Path, data: bytes) -> Path:
    """Write and flush a file under a name that does not count yet; see `place`.

    Raises
    ------
    OSError
        Nothing is left behind.
    """
    descriptor, name = tempfile.mkstemp(dir=folder, suffix=PART)
    part = Path(name)
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
    if os.name == "posix":  # elsewhere a folder cannot be flushed, and its log does it
        descriptor = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def sweep(folder: Path, known: Iterable[str]) -> int:
    """Remove what an interruption left: parts, and files that nothing refers to. Give their number."""
    keep = set(known)
    left = [path for path in folder.iterdir() if path.name not in keep]
    for path in left:
        path.unlink()
    return len(left)
