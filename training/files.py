"""Directories that one process writes at a time, and files that are replaced whole or not at all."""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from training.errors import Busy


@contextmanager
def locked(out: Path) -> Iterator[None]:
    """Hold a directory, made if missing, for this process.

    Raises
    ------
    Busy
        Another process holds it.
    """
    out.mkdir(parents=True, exist_ok=True)
    lock = FileLock(f"{out}.lock", blocking=False)
    try:
        lock.acquire()
    except Timeout:
        raise Busy(f"{out} is being written by another process; wait for it, or choose another --out") from None
    try:
        yield
    finally:
        lock.release()


def write_json(path: Path, content: dict[str, Any]) -> Path:
    """Write a JSON file and return its path."""
    part = path.with_name(f"{path.name}.part")
    part.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    part.replace(path)
    return path


def hash_of_file(path: Path) -> str:
    """Return the sha256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
