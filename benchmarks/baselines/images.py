"""Read images with OpenCV, as a script would; resized as cxr-edge does it, or the probabilities would differ."""

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from benchmarks.baselines import SIDE
from cxr_edge.model.tta import TtaVariant

Pixels = npt.NDArray[np.uint8]


def read_grey(path: str) -> Pixels:
    """Read an image as grey levels, (SIDE, SIDE) uint8."""
    return shrink(cv2.imread(path, cv2.IMREAD_GRAYSCALE))


def shrink(image: Pixels) -> Pixels:
    """Resize an image, (H, W[, 3]) uint8, to (SIDE, SIDE[, 3])."""
    return np.asarray(cv2.resize(image, (SIDE, SIDE), interpolation=cv2.INTER_AREA))


def read_arrays(paths: list[str]) -> list[Pixels]:
    """Decode images, (H, W) uint8 each, for contestants that start from an array."""
    return [np.asarray(cv2.imread(path, cv2.IMREAD_GRAYSCALE)) for path in paths]


def show(image: npt.NDArray[np.generic], variants: Sequence[TtaVariant]) -> npt.NDArray[np.float32]:
    """Make the TTA variants of an image by plain NumPy, (len(variants), …) float32."""
    levels = [np.clip(np.rint(image * np.float64(variant.brightness)), 0, 255) for variant in variants]
    shown = [level[:, ::-1] if variant.flip else level for level, variant in zip(levels, variants, strict=True)]
    return np.stack(shown).astype(np.float32)
