"""Test-time augmentation: make the TTA variants of an image, and average their maps in the frame of the image."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class TtaVariant:
    """One augmentation of an image.

    Attributes
    ----------
    flip : bool
        Mirror left and right.
    brightness : float
        Factor on the grey levels; the product is rounded half to even and clipped to 0..255.
    """

    flip: bool
    brightness: float


IDENTITY = TtaVariant(flip=False, brightness=1.0)


def make_variants(image: npt.NDArray[np.uint8], variants: Sequence[TtaVariant]) -> npt.NDArray[np.uint8]:
    """Stack the TTA variants of one pre-processed image into a batch.

    Parameters
    ----------
    image : ndarray, (H, W) uint8
    variants : sequence of TtaVariant

    Returns
    -------
    ndarray, (len(variants), H, W) uint8
    """
    batch = np.empty((len(variants), *image.shape), dtype=np.uint8)
    for slot, variant in zip(batch, variants, strict=True):
        shown = image if variant.brightness == 1.0 else cv2.LUT(image, _brightness_table(variant.brightness))
        slot[:] = shown[:, ::-1] if variant.flip else shown
    return batch


def average_maps(maps: npt.NDArray[np.float32], variants: Sequence[TtaVariant]) -> npt.NDArray[np.float32]:
    """Average class activation maps over TTA variants, in the frame of the unflipped image.

    Parameters
    ----------
    maps : ndarray, (len(variants), C, h, w) float32
    variants : sequence of TtaVariant

    Returns
    -------
    ndarray, (C, h, w) float32
    """
    upright = [m[:, :, ::-1] if v.flip else m for m, v in zip(maps, variants, strict=True)]
    return np.asarray(upright[0] if len(upright) == 1 else np.mean(upright, axis=0, dtype=np.float32))


def _brightness_table(factor: float) -> npt.NDArray[np.uint8]:
    levels = np.rint(np.arange(256) * factor)
    return np.asarray(np.clip(levels, 0, 255), dtype=np.uint8)
