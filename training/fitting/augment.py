"""Augmentation of one image: less detail, one affine warp, one table of grey levels, black boxes."""

import cv2
import numpy as np
import numpy.typing as npt

from cxr_edge.model.preprocess import preprocess
from training.recipe import Augmentation

#: Sides of a black box and how far down most of them reach, as shares of the image's side.
BOX_SIDES = (0.04, 0.2)
BOX_ZONE = 0.3
#: The smallest side in pixels that an image is reduced to.
LEAST_SIDE = 64


def augment(image: npt.NDArray[np.uint8], how: Augmentation, rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    """Vary one image; what comes from beyond its edge is black.

    Parameters
    ----------
    image : ndarray, (size, size) uint8
    how : Augmentation
    rng : Generator
        The same generator gives the same image.

    Returns
    -------
    ndarray, (size, size) uint8
    """
    size = image.shape[0]
    if how.reduce and rng.random() < how.reduce:
        image = _reduced(image, rng)
    warped = cv2.warpAffine(image, _warp(size, how, rng), (size, size), flags=cv2.INTER_LINEAR)
    varied = np.asarray(cv2.LUT(warped, _grey_levels(how, rng)), np.uint8)
    if rng.random() < how.boxes:
        _black_out(varied, rng)
    return varied


def _reduced(image: npt.NDArray[np.uint8], rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    """Reduce an image to a side drawn log-uniformly, and enlarge it again."""
    size = image.shape[0]
    if size <= LEAST_SIDE:
        return image
    side = round(float(np.exp(rng.uniform(np.log(LEAST_SIDE), np.log(size)))))
    return preprocess(preprocess(image, (side, side)), (size, size))


def _warp(size: int, how: Augmentation, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    middle = (size - 1) / 2
    matrix = cv2.getRotationMatrix2D((middle, middle), _within(how.rotation, rng), 1 + _within(how.zoom, rng))
    matrix[:, 2] += np.array([_within(how.shift, rng) * size, _within(how.shift, rng) * size])
    mirror = np.array([[-1, 0, size - 1], [0, 1, 0], [0, 0, 1]], np.float64)
    return np.asarray(matrix @ mirror if rng.random() < how.flip else matrix)


def _grey_levels(how: Augmentation, rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    levels = np.linspace(0, 1, 256) ** np.exp(_within(how.gamma, rng))
    levels = (levels - 0.5) * (1 + _within(how.contrast, rng)) + 0.5 + _within(how.brightness, rng)
    return np.asarray(np.clip(np.rint(levels * 255), 0, 255), np.uint8)


def _black_out(image: npt.NDArray[np.uint8], rng: np.random.Generator) -> None:
    size = image.shape[0]
    for _ in range(rng.integers(1, 4)):
        height, width = (rng.uniform(*BOX_SIDES, size=2) * size).astype(int)
        zone = BOX_ZONE if rng.random() < 0.6 else 1.0
        top, left = int(rng.uniform(0, zone) * size), int(rng.uniform(0, 1) * size)
        image[top : top + height, left : left + width] = 0


def _within(strength: float, rng: np.random.Generator) -> float:
    return float(rng.uniform(-strength, strength))
