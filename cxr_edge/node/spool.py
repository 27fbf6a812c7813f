"""The node's folders of images and results: what an interruption left there."""

from collections.abc import Iterable
from pathlib import Path


def sweep(folder: Path, known: Iterable[str]) -> int:
    """Remove what an interruption left: parts, and files that nothing refers to. Return their number."""
    keep = set(known)
    left = [path for path in folder.iterdir() if path.name not in keep and path.is_file()]
    for path in left:
        path.unlink()
    return len(left)
