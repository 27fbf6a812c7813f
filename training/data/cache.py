"""A cache: images decoded once, at the sizes of a network, one after the other in a plain file."""

import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from training.errors import DataError

IDENTITY = "cache.json"
TABLE = "images.csv"


class CachedImages:
    """Some images of a cache at one size, read one by one.

    They are read from the file, not mapped into memory, so that a pass over all of them does not
    fill the memory of the process.

    Parameters
    ----------
    cache : Path
    size : int
        Side in pixels.
    rows : ndarray of int
        Places of the images in the cache.

    Raises
    ------
    DataError
        The cache holds no images of this size.
    """

    def __init__(self, cache: Path, size: int, rows: npt.NDArray[np.int64]) -> None:
        if size not in (sizes := sizes_of(cache)):
            raise DataError(
                f"{cache} holds images of {sizes} pixels, not of {size}; prepare another with --size {size}"
            )
        self._file = images_file(cache, size)
        self._size = size
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> npt.NDArray[np.uint8]:
        length = self._size**2
        image = np.fromfile(self._file, np.uint8, length, offset=int(self._rows[index]) * length)
        return image.reshape(self._size, self._size)


def images_file(cache: Path, size: int) -> Path:
    """Name the file that holds a cache's images of one size."""
    return cache / f"images-{size}.u8"


def sizes_of(cache: Path) -> list[int]:
    """List the sizes of a cache's images."""
    sizes: list[int] = json.loads((cache / IDENTITY).read_text())["sizes"]
    return sizes


def is_cache(root: Path) -> bool:
    """Return whether a folder is a cache."""
    return (root / IDENTITY).is_file()


def read_cached(cache: Path) -> pd.DataFrame:
    """Read the table of a cache, with ``cache`` and ``row``; labels joined as NIH writes them.

    Raises
    ------
    DataError
        The cache is not finished.
    """
    if not json.loads((cache / IDENTITY).read_text())["finished"]:
        raise DataError(f"{cache} is not finished; run the same `python -m training prepare` command again")
    table = pd.read_csv(cache / TABLE, dtype={"image": str, "labels": str}).drop(columns="sha256")
    return table.assign(cache=str(cache), row=np.arange(len(table)))
