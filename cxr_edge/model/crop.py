"""Inputs that show only the middle of an image: which part of it, and maps of that part in the frame of the whole.

Published models are often fitted on a central square, so that no image is distorted.
"""

from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

#: Cells of the whole image's grid for one cell of the network's: the edges of the part lie anywhere between cells.
_FINER: Final = 4


def central_part(shape: tuple[int, int], size: tuple[int, int]) -> tuple[int, int, int, int]:
    """Return the largest central part of an image that has the shape of the input: top, left, height, width in pixels.

    Parameters
    ----------
    shape, size : (int, int)
        Height and width of the image, and of the input.
    """
    scale = min(shape[0] / size[0], shape[1] / size[1])
    height, width = (min(whole, max(1, round(side * scale))) for whole, side in zip(shape, size, strict=True))
    return (shape[0] - height) // 2, (shape[1] - width) // 2, height, width


def in_whole_image(
    maps: npt.NDArray[np.float32], shape: tuple[int, int], size: tuple[int, int]
) -> npt.NDArray[np.float32]:
    """Return maps of the central part in the frame of the whole image; 0 beyond the part, which the network never saw.

    Parameters
    ----------
    maps : ndarray, (..., y, x) float32
        On the network's grid.
    shape, size : (int, int)
        As for `central_part`.

    Returns
    -------
    ndarray, (..., rows, columns) float32
        On a finer grid in the aspect ratio of the image; as they are where the part is the image.
    """
    top, left, height, width = central_part(shape, size)
    if (height, width) == shape:
        return maps
    grid: tuple[int, int] = maps.shape[-2:]
    rows, columns = (
        round(_FINER * cells * whole / part) for cells, whole, part in zip(grid, shape, (height, width), strict=True)
    )
    # From the centre of a cell of the result to pixels of the image, and on to cells of the network's grid.
    y = (np.arange(rows) + 0.5) * shape[0] / rows - top
    x = (np.arange(columns) + 0.5) * shape[1] / columns - left
    at_y, at_x = y / height * grid[0] - 0.5, x / width * grid[1] - 0.5
    map_x, map_y = (grid_.astype(np.float32) for grid_ in np.meshgrid(at_x, at_y))
    seen = ((y >= 0) & (y < height))[:, None] & ((x >= 0) & (x < width))
    flat = [
        cv2.remap(one, map_x, map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE) * seen
        for one in maps.reshape(-1, *grid)
    ]
    return np.asarray(flat, np.float32).reshape(*maps.shape[:-2], rows, columns)
