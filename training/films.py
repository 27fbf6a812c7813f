"""Films as one array in memory, decoded and resized by the SDK's own code."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
from rich.progress import track

from cxr_edge.images import read_film
from cxr_edge.labels import LABELS
from cxr_edge.preprocess import preprocess


def load_films(films: pd.DataFrame, size: int, name: str) -> npt.NDArray[np.uint8]:
    """Decode and pre-process films in parallel.

    Parameters
    ----------
    films : DataFrame
        With the column ``path``.
    size : int
        Side of the network's input in pixels.
    name : str
        What the progress bar calls them.

    Returns
    -------
    ndarray, (N, size, size) uint8

    Raises
    ------
    cxr_edge.errors.InputError
        A film cannot be read: a training set with holes is mended, not used.
    """

    def load(path: Path) -> npt.NDArray[np.uint8]:
        return preprocess(read_film(path).pixels, (size, size))

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return np.stack(list(track(pool.map(load, films["path"]), f"Reading {name}", total=len(films))))


def targets(films: pd.DataFrame) -> npt.NDArray[np.float32]:
    """Give the labels as a (N, 15) float32 array of 0 and 1."""
    return films[list(LABELS)].to_numpy(np.float32)
