"""Test-time augmentation: the views of one film, and their way back to its frame."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class View:
    """One way of showing a film to the network.

    Attributes
    ----------
    flip : bool
        Mirror left and right.
    brightness : float
        Factor on the grey levels; the product is rounded half to even and clipped to 0..255.
    """

    flip: bool
    brightness: float


IDENTITY = View(flip=False, brightness=1.0)

#: {original, mirrored} x {0.9, 1.0, 1.1 brightness}. The identity leads: view 0 alone is "single".
SIX_VIEWS: tuple[View, ...] = (
    IDENTITY,
    View(flip=False, brightness=0.9),
    View(flip=False, brightness=1.1),
    View(flip=True, brightness=1.0),
    View(flip=True, brightness=0.9),
    View(flip=True, brightness=1.1),
)


def make_views(film: npt.NDArray[np.uint8], views: Sequence[View]) -> npt.NDArray[np.uint8]:
    """Stack the views of one pre-processed film into a batch.

    Parameters
    ----------
    film : ndarray, (H, W) uint8
    views : sequence of View

    Returns
    -------
    ndarray, (len(views), H, W) uint8
    """
    batch = np.empty((len(views), *film.shape), dtype=np.uint8)
    for slot, view in zip(batch, views, strict=True):
        shown = film if view.brightness == 1.0 else cv2.LUT(film, _brightness_table(view.brightness))
        slot[:] = shown[:, ::-1] if view.flip else shown
    return batch


@dataclass(frozen=True)
class Evaluation:
    """What the network says of some views of one film.

    Attributes
    ----------
    views : tuple of View
    probabilities : ndarray, (len(views), C) float32
        Before calibration.
    maps : ndarray, (len(views), C, h, w) float32, or None
        Each in the frame of its view.
    unlikeness : float or None
        Out-of-distribution score of the unchanged film; None where it is not among the views, or there is no rule.
    """

    views: tuple[View, ...]
    probabilities: npt.NDArray[np.float32]
    maps: npt.NDArray[np.float32] | None
    unlikeness: float | None = None

    def joined(self, more: "Evaluation") -> "Evaluation":
        """Add views of the same film."""
        maps = None if self.maps is None or more.maps is None else np.concatenate([self.maps, more.maps])
        probabilities = np.concatenate([self.probabilities, more.probabilities])
        unlikeness = more.unlikeness if self.unlikeness is None else self.unlikeness
        return Evaluation(self.views + more.views, probabilities, maps, unlikeness)

    def average_maps(self) -> npt.NDArray[np.float32] | None:
        """Average the maps, (C, h, w), read-only; None where there are none."""
        if self.maps is None:
            return None
        averaged = average_maps(self.maps, self.views)
        averaged.setflags(write=False)
        return averaged


def average_maps(maps: npt.NDArray[np.float32], views: Sequence[View]) -> npt.NDArray[np.float32]:
    """Average class activation maps over views, in the frame of the unflipped film.

    Parameters
    ----------
    maps : ndarray, (len(views), C, h, w) float32
    views : sequence of View

    Returns
    -------
    ndarray, (C, h, w) float32
    """
    upright = [m[:, :, ::-1] if v.flip else m for m, v in zip(maps, views, strict=True)]
    return np.asarray(upright[0] if len(upright) == 1 else np.mean(upright, axis=0, dtype=np.float32))


def _brightness_table(factor: float) -> npt.NDArray[np.uint8]:
    levels = np.rint(np.arange(256) * factor)
    return np.asarray(np.clip(levels, 0, 255), dtype=np.uint8)
