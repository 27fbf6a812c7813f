"""Images for benchmarks: real ones, linked under as many names as a directory needs."""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Final

SAMPLES: Final = Path(__file__).parent.parent / "samples"
SUFFIXES: Final = (".png", ".jpg", ".jpeg")


def find_images(folder: Path) -> list[Path]:
    """List the images of a folder, sorted by name.

    Raises
    ------
    FileNotFoundError
        There are none.
    """
    images = sorted(path.resolve() for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
    if not images:
        raise FileNotFoundError(f"expected images ({', '.join(SUFFIXES)}) in {folder}, found none; name another folder")
    return images


def link_images(images: Sequence[Path], count: int, folder: Path) -> list[str]:
    """Fill a folder with `count` links of distinct names to the images in turn.

    Where this user may not make links (Windows without developer mode), the images are copied.

    Parameters
    ----------
    images : sequence of Path
        Absolute paths.
    count : int
    folder : Path
        An existing, empty folder.

    Returns
    -------
    list of str
        The paths, in the order of their names.
    """
    names = []
    for number in range(count):
        image = images[number % len(images)]
        name = folder / f"{number:06d}_{image.name}"
        try:
            os.symlink(image, name)
        except OSError:
            shutil.copyfile(image, name)
        names.append(str(name))
    return names
