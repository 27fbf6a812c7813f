"""How a script reads a film with OpenCV; the same resizing as cxr-edge's, or the answers would differ."""

import cv2
import numpy as np
import numpy.typing as npt

from benchmarks.peers import SIDE

Pixels = npt.NDArray[np.uint8]


def read_grey(path: str) -> Pixels:
    """Read a film as grey levels, (SIDE, SIDE) uint8."""
    return shrink(cv2.imread(path, cv2.IMREAD_GRAYSCALE))


def shrink(film: Pixels) -> Pixels:
    """Resize a film, (H, W[, 3]) uint8, to (SIDE, SIDE[, 3])."""
    return np.asarray(cv2.resize(film, (SIDE, SIDE), interpolation=cv2.INTER_AREA))


def read_arrays(paths: list[str]) -> list[Pixels]:
    """Decode films, (H, W) uint8 each, for contestants that start from an array."""
    return [np.asarray(cv2.imread(path, cv2.IMREAD_GRAYSCALE)) for path in paths]


def six_views(film: npt.NDArray[np.generic]) -> npt.NDArray[np.float32]:
    """Make the six views by plain NumPy: the film and its mirror image at three brightnesses, (6, …) float32."""
    levels = [np.clip(np.rint(film * np.float64(factor)), 0, 255) for factor in (1.0, 0.9, 1.1)]
    return np.stack([*levels, *(level[:, ::-1] for level in levels)]).astype(np.float32)
