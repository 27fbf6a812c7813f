"""The films of a benchmark: real ones, linked under as many names as a directory is to have."""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Final

SAMPLES: Final = Path(__file__).parent.parent / "samples"
SUFFIXES: Final = (".png", ".jpg", ".jpeg")


def find_films(folder: Path) -> list[Path]:
    """List the films of a folder, sorted by name.

    Raises
    ------
    FileNotFoundError
        It holds none.
    """
    films = sorted(path.resolve() for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
    if not films:
        raise FileNotFoundError(f"expected films ({', '.join(SUFFIXES)}) in {folder}, found none; name another folder")
    return films


def link_films(films: Sequence[Path], count: int, folder: Path) -> list[str]:
    """Fill a folder with so many distinct names, each of a real film in turn.

    Where this user may not make links (Windows without its developer mode) the films are copied.

    Parameters
    ----------
    films : sequence of Path
        Absolute.
    count : int
    folder : Path
        Exists, and is empty.

    Returns
    -------
    list of str
        The paths, in the order of their names.
    """
    names = []
    for number in range(count):
        film = films[number % len(films)]
        name = folder / f"{number:06d}_{film.name}"
        try:
            os.symlink(film, name)
        except OSError:
            shutil.copyfile(film, name)
        names.append(str(name))
    return names
