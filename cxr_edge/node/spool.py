"""The node's spool, its folders of images and results: removes what an interruption left behind."""

from collections.abc import Iterable
from pathlib import Path


def sweep(folder: Path, known: Iterable[str]) -> int:
    """Remove partial files, and files that nothing refers to; return their number."""
    keep = set(known)
    left = [path for path in folder.iterdir() if path.name not in keep and path.is_file()]
    for path in left:
        path.unlink()
    return len(left)
