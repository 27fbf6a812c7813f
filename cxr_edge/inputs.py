"""Which files a run reads: paths and directories to one ordered list, each file once."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path


def discover(paths: Iterable[str], exclude: Path | None = None) -> list[str]:
    """List the inputs of a run.

    A file is taken as it is named. In a directory every regular file counts, whatever its
    suffix, in sorted order; hidden files and directories, links to directories and `exclude` are
    skipped. A directory that cannot be listed stays in the list, to fail with its own error.

    Parameters
    ----------
    paths : iterable of str
    exclude : Path, optional
        The results directory.

    Returns
    -------
    list of str
        Without repetitions.
    """
    found: dict[str, None] = {}
    for path in paths:
        normal = os.path.normpath(path)
        found.update(dict.fromkeys(_walk(normal, exclude) if os.path.isdir(normal) else [normal]))
    return list(found)


def printable_path(path: str) -> str:
    """Give a path as valid Unicode: bytes that are no UTF-8 appear as backslash escapes."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def _walk(root: str, exclude: Path | None) -> Iterator[str]:
    unlisted: list[str] = []
    excluded = exclude.resolve() if exclude else None
    for folder, subfolders, files in os.walk(root, onerror=lambda error: unlisted.append(error.filename)):
        subfolders[:] = sorted(s for s in subfolders if not s.startswith(".") and Path(folder, s).resolve() != excluded)
        for name in sorted(files):
            path = os.path.join(folder, name)
            if not name.startswith(".") and os.path.isfile(path):
                yield path
    yield from unlisted
