"""The cache of what is derived from a model on this machine. Others must not write there: engines hold code."""

import os
import stat
from pathlib import Path
from typing import Final

from platformdirs import user_cache_path

from cxr_edge.errors import CacheUnusable

#: Environment variable that names a folder to use in place of the user's cache.
VARIABLE: Final = "CXR_EDGE_CACHE"


def cache_root() -> Path:
    """Return the cache folder; it need not exist.

    Raises
    ------
    CacheUnusable
        This user has no home, as in a container with an arbitrary user, and no folder is named.
    """
    chosen = os.environ.get(VARIABLE)
    try:
        return Path(chosen).expanduser().absolute() if chosen else user_cache_path("cxr-edge", appauthor=False)
    except RuntimeError as error:  # of pathlib and platformdirs, for a user without HOME and without an account
        raise CacheUnusable(
            "expected a folder for engines in the home of this user, who has none; name one by the environment "
            f"variable {VARIABLE}, or set HOME"
        ) from error


def cache_folder(*names: str) -> Path:
    """Create a folder within the cache, for this user alone, and return it.

    Raises
    ------
    CacheUnusable
        The folder cannot be made, or another user could write into it.
    """
    root = cache_root()
    folder = root.joinpath(*names)
    try:
        root.parent.mkdir(parents=True, exist_ok=True)
        for depth in range(len(names) + 1):
            part = root.joinpath(*names[:depth])
            part.mkdir(exist_ok=True, mode=0o700)  # with parents=True only the last would have the mode
            require_private(part)
    except OSError as error:
        raise CacheUnusable(
            f"{folder} cannot be made ({error.strerror}); let this user write there, or name another folder by the "
            f"environment variable {VARIABLE}"
        ) from error
    return folder


def require_private(path: Path) -> None:
    """Raise an error for a path that belongs to another user, or that others may write to.

    Not on Windows, which protects the folders of a user by its own access rights.

    Raises
    ------
    CacheUnusable
    """
    if os.name == "nt":
        return
    found = path.stat()
    if found.st_uid != os.geteuid() or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise CacheUnusable(
            f"{path}: expected a path that only this user can write to, got owner {found.st_uid} and mode "
            f"{stat.S_IMODE(found.st_mode):o}; engines hold code: run `chmod go-w {path}`, or name another folder by "
            f"the environment variable {VARIABLE}"
        )
