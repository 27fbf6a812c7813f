"""Calibration: from raw probabilities, averaged over the TTA variants, to calibrated ones."""

from collections.abc import Mapping
from typing import Annotated, Literal

import msgspec
import numpy as np
import numpy.typing as npt
from msgspec import Meta

#: Raw probabilities are kept this far from 0 and 1, where log-odds are infinite.
EPSILON = 1e-7


class Curve(msgspec.Struct, frozen=True):
    """Platt's sigmoid of one label: log-odds become ``slope * log-odds + intercept``.

    The slope is above 0, so that calibration never changes which of two images ranks higher.
    """

    slope: Annotated[float, Meta(gt=0, le=100)]
    intercept: Annotated[float, Meta(ge=-100, le=100)]


class Calibration(msgspec.Struct, frozen=True):
    """How raw probabilities become the emitted ones.

    Attributes
    ----------
    method : str
        ``identity`` emits them as they are; ``platt`` (Platt 1999) by a `Curve` for each label.
    single, tta : dict, optional
        The curves by label and TTA mode, for ``platt``: averaging variants changes how confident a
        network seems.
    fitted_on : str
        The images they were fitted on.
    """

    method: Literal["identity", "platt"]
    single: dict[str, Curve] | None = None
    tta: dict[str, Curve] | None = None
    fitted_on: str = ""


def calibrate(
    raw: npt.NDArray[np.float64], curves: Mapping[str, Curve] | None, labels: tuple[str, ...]
) -> npt.NDArray[np.float64]:
    """Calibrate probabilities.

    Parameters
    ----------
    raw : ndarray, (..., len(labels)) float64
        Averaged over the TTA variants.
    curves : mapping or None
        Label → curve; None emits `raw`.
    labels : tuple of str

    Returns
    -------
    ndarray, (..., len(labels)) float64
    """
    if curves is None:
        return raw
    return np.asarray(1 / (1 + np.exp(-calibrated_log_odds(raw, curves, labels))))


def calibrated_log_odds(
    raw: npt.NDArray[np.float64], curves: Mapping[str, Curve], labels: tuple[str, ...]
) -> npt.NDArray[np.float64]:
    """Return the log-odds that probabilities have by their curves, (..., len(labels)) float64; see `calibrate`."""
    slopes = np.array([curves[label].slope for label in labels])
    intercepts = np.array([curves[label].intercept for label in labels])
    return np.asarray(slopes * log_odds(raw) + intercepts)


def log_odds(probability: npt.NDArray[np.float64] | float) -> npt.NDArray[np.float64]:
    """Return ``log(p / (1 - p))``, always finite: p is kept `EPSILON` away from 0 and 1."""
    inside = np.clip(probability, EPSILON, 1 - EPSILON)
    return np.asarray(np.log(inside / (1 - inside)))
