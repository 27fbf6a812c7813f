"""The folder of what this machine derives from a model, and others must not be able to write: engines hold code."""

import os
import stat
from pathlib import Path
from typing import Final

from platformdirs import user_cache_path

from cxr_edge.errors import CacheUnusable

#: Names another folder than the user's cache.
VARIABLE: Final = "CXR_EDGE_CACHE"


def cache_root() -> Path:
    """Give the folder; it need not exist."""
    chosen = os.environ.get(VARIABLE)
    return Path(chosen).expanduser().absolute() if chosen else user_cache_path("cxr-edge", appauthor=False)


def cache_folder(*names: str) -> Path:
    """Make a folder within the cache, for this user alone.

    Raises
    ------
    CacheUnusable
        It cannot be made, or someone else could write into it.
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
    """Refuse what belongs to another user, or others may write.

    Windows keeps the folders of a user by rights of its own.

    Raises
    ------
    CacheUnusable
    """
    if os.name == "nt":
        return
    found = path.stat()
    if found.st_uid != os.geteuid() or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise CacheUnusable(
            f"{path}: expected what only this user can write, got owner {found.st_uid} and mode "
            f"{stat.S_IMODE(found.st_mode):o}; engines hold code: run `chmod go-w {path}`, or name another folder by "
            f"the environment variable {VARIABLE}"
        )
