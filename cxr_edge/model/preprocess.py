"""From an image of any size to the network's input: the one pre-processing for all packages.

OpenCV's ``INTER_AREA`` visits every pixel one by one, which takes a seventh of the network's time. Its averages are
products with two sparse matrices, one for rows and one for columns. Cut into narrow bands, the matrices are dense.
"""

import functools
from typing import Final, Literal

import cv2
import numpy as np
import numpy.typing as npt

from cxr_edge.model.crop import central_part

#: Rows or columns of the result that are computed together. Wider bands multiply more zeros.
_BAND: Final = 7
#: Multiplications in one product: about the most that BLAS libraries do not spread over threads.
#: Such threads would compete with those that work on other images.
_MAX_MULTIPLICATIONS: Final = 2**18


def preprocess(
    image: npt.NDArray[np.uint8], size: tuple[int, int], fit: Literal["stretch", "crop"] = "stretch"
) -> npt.NDArray[np.uint8]:
    """Resize an image to the network's input.

    Area averaging (``cv2.INTER_AREA``) weighs every source pixel, so an image shrunk five-fold
    does not alias; NIH made its own 1024x1024 images without keeping the aspect ratio either.
    A side shorter than the input's is interpolated (``cv2.INTER_CUBIC``). ``cv2.INTER_AREA`` would
    repeat pixels instead, and the network would see the edges of the squares.

    Parameters
    ----------
    image : ndarray, (H, W) uint8
        8-bit grey levels, bright bone.
    size : (int, int)
        Height and width of the input in pixels.
    fit : str
        ``stretch`` the whole image without keeping its aspect ratio, or ``crop`` its middle: see
        `cxr_edge.model.crop.central_part`.

    Returns
    -------
    ndarray, ``size`` uint8
    """
    if fit == "crop":
        top, left, *part = central_part((image.shape[0], image.shape[1]), size)
        image = image[top : top + part[0], left : left + part[1]]
    height, width = size
    averaged = _averaged(image, min(height, image.shape[0]), min(width, image.shape[1]))
    if averaged.shape == size:
        return averaged
    return np.asarray(cv2.resize(averaged, (width, height), interpolation=cv2.INTER_CUBIC), dtype=np.uint8)


def _averaged(image: npt.NDArray[np.uint8], height: int, width: int) -> npt.NDArray[np.uint8]:
    averaged = _average_columns(_average_rows(image, height), width)
    return np.rint(averaged, out=averaged).astype(np.uint8)


def _average_rows(image: npt.NDArray[np.uint8], height: int) -> npt.NDArray[np.float32]:
    averaged = np.empty((height, image.shape[1]), np.float32)
    for result, source, weights in _bands(image.shape[0], height):
        step = max(1, _MAX_MULTIPLICATIONS // weights.size)
        for left in range(0, image.shape[1], step):
            part = image[source, left : left + step].astype(np.float32)
            np.matmul(weights, part, out=averaged[result, left : left + step])
    return averaged


def _average_columns(rows: npt.NDArray[np.float32], width: int) -> npt.NDArray[np.float32]:
    averaged = np.empty((len(rows), width), np.float32)
    for result, source, weights in _bands(rows.shape[1], width):
        np.matmul(rows[:, source], weights.T, out=averaged[:, result])
    return averaged


@functools.lru_cache(maxsize=512)
def _bands(source: int, result: int) -> tuple[tuple[slice, slice, npt.NDArray[np.float32]], ...]:
    """Return the pixels of a side that each band of the result averages, and their weights.

    Returns
    -------
    tuple of (slice, slice, ndarray)
        Pixels of the result, pixels of the source, and weights of (result, source) float32: the
        share of each source pixel in each result pixel, so that a row sums to 1.
    """
    scale = source / result
    bands = []
    for first in range(0, result, _BAND):
        last = min(first + _BAND, result)
        start, end = first * source // result, -(-last * source // result)
        of_source, of_result = np.arange(start, end), np.arange(first, last)[:, None]
        overlap = np.minimum(of_source + 1, (of_result + 1) * scale) - np.maximum(of_source, of_result * scale)
        weights = np.asarray(np.clip(overlap, 0, None) / scale, dtype=np.float32)
        weights.setflags(write=False)
        bands.append((slice(first, last), slice(start, end), weights))
    return tuple(bands)
