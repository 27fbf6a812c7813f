"""The images of a part: decoded into memory by the SDK's own code, or read from a cache."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
import pandas as pd
from rich.progress import track

from cxr_edge.images import read_image
from cxr_edge.model.preprocess import preprocess
from training.data.cache import CachedImages, sizes_of
from training.errors import DataError
from training.labels import LabelSet


class Images(Protocol):
    """Pre-processed images: an array of (N, size, size) uint8, or a cache's."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> npt.NDArray[np.uint8]:
        """Return one image, (size, size) uint8."""
        ...


@dataclass(frozen=True)
class Part:
    """Images and labels of one part of a split.

    Attributes
    ----------
    images : Images
    targets : ndarray, (N, labels) float32
        0 and 1.
    table : DataFrame
        The same images' rows.
    labels : LabelSet
    """

    images: Images
    targets: npt.NDArray[np.float32]
    table: pd.DataFrame
    labels: LabelSet

    @property
    def findings(self) -> npt.NDArray[np.float32]:
        """The columns of the targets that are findings, (N, findings) float32."""
        return self.targets[:, self.labels.finding_columns]


def load_part(table: pd.DataFrame, size: int, name: str, labels: LabelSet) -> Part:
    """Load the images of a part at one size.

    Parameters
    ----------
    table : DataFrame
        With the column ``path``; or ``cache`` and ``row``.
    size : int
        Side of the network's input in pixels.
    name : str
        What the progress bar calls them.
    labels : LabelSet
        Columns of the targets.

    Raises
    ------
    cxr_edge.errors.InputError
        An image cannot be read: a training set must be complete.
    DataError
        The cache holds no images of this size.
    """
    if "cache" in table:
        images: Images = CachedImages(Path(table["cache"].iloc[0]), size, table["row"].to_numpy())
    else:
        images = _decode(table["path"], size, name)
    return Part(images, table[list(labels.names)].to_numpy(np.float32), table, labels)


def require_sizes(table: pd.DataFrame, sizes: Sequence[int]) -> None:
    """Raise `DataError` when the images are a cache's that lacks some of the sizes."""
    if "cache" not in table:
        return
    cache = Path(table["cache"].iloc[0])
    if lacking := sorted(set(sizes) - set(sizes_of(cache))):
        wanted = " ".join(f"--size {size}" for size in sorted(set(sizes)))
        raise DataError(
            f"{cache} holds images of {sizes_of(cache)} pixels, not of {lacking}; prepare another: {wanted}"
        )


def _decode(paths: pd.Series, size: int, name: str) -> npt.NDArray[np.uint8]:
    def load(path: Path) -> npt.NDArray[np.uint8]:
        return preprocess(read_image(path).pixels, (size, size))

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return np.stack(list(track(pool.map(load, paths), f"Reading {name}", total=len(paths))))
