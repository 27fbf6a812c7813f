"""Calibration curves, fitted on validation images and chosen by cross-validation among them."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import brentq, minimize
from scipy.special import expit
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.model_selection import GroupKFold

from cxr_edge.model.calibration import EPSILON, Curve, calibrate, log_odds

Floats = npt.NDArray[np.floating[Any]]
Curves = dict[str, Curve]

#: A fitted curve must not reverse the ranking, nor flatten it, nor become a step where the classes separate.
SLOPES = (0.05, 4.0)
FOLDS = 5

#: Inverse strength of the pull of `platt_ridge` towards the shared curve.
RIDGE = 1.0


def identity(_: Floats, __: Floats, ___: Sequence[str]) -> None:
    """Leave probabilities as they are."""


def shared(truth: Floats, raw: Floats, labels: Sequence[str]) -> Curves:
    """Fit one curve for all labels: Platt's sigmoid on all their images together."""
    curve = _platt(truth.ravel(), _log_odds(raw).ravel())
    return dict.fromkeys(labels, curve)


def platt(truth: Floats, raw: Floats, labels: Sequence[str]) -> Curves:
    """Fit a curve for each label (Platt 1999); the shared one where a label has only one class."""
    fallback = shared(truth, raw, labels)
    log_odds = _log_odds(raw)
    return {
        label: _platt(truth[:, i], log_odds[:, i]) if 0 < truth[:, i].sum() < len(truth) else fallback[label]
        for i, label in enumerate(labels)
    }


def platt_ridge(truth: Floats, raw: Floats, labels: Sequence[str]) -> Curves:
    """Fit a curve for each label, drawn towards the shared one: for labels with few positive images."""
    middle = shared(truth, raw, labels)[labels[0]]
    log_odds = middle.slope * _log_odds(raw) + middle.intercept
    curves = {}
    for i, label in enumerate(labels):
        if not 0 < truth[:, i].sum() < len(truth):
            curves[label] = middle
            continue
        step = _ridge(truth[:, i], log_odds[:, i])
        slope, intercept = step.slope * middle.slope, step.slope * middle.intercept + step.intercept
        curves[label] = _within_bounds(slope, intercept, truth[:, i], _log_odds(raw[:, i]))
    return curves


Method = Callable[[Floats, Floats, Sequence[str]], "Curves | None"]

METHODS: Mapping[str, Method] = {
    "identity": identity,
    "shared": shared,
    "platt": platt,
    "platt_ridge": platt_ridge,
}


def choose_method(
    truth: Floats, raw: Floats, patients: npt.NDArray[Any], labels: Sequence[str]
) -> tuple[str, dict[str, float]]:
    """Choose how to calibrate, by the log loss on folds of patients that a curve has not seen.

    Parameters
    ----------
    truth, raw : ndarray, (N, labels)
    patients : ndarray, (N,)
        At least `FOLDS` different ones.
    labels : sequence of str
        Names of the columns.

    Returns
    -------
    str
        A key of `METHODS`.
    dict
        Mean log loss over labels and images by method.
    """
    losses = {name: _cross_validated(method, truth, raw, patients, labels) for name, method in METHODS.items()}
    return min(losses, key=losses.__getitem__), losses


def _cross_validated(
    method: Method, truth: Floats, raw: Floats, patients: npt.NDArray[Any], labels: Sequence[str]
) -> float:
    held_out, names = np.zeros(raw.shape), tuple(labels)
    for fitted, others in GroupKFold(FOLDS).split(raw, groups=patients):
        held_out[others] = calibrate(raw[others].astype(np.float64), method(truth[fitted], raw[fitted], names), names)
    return mean_log_loss(truth, held_out)


def mean_log_loss(truth: Floats, probabilities: Floats) -> float:
    """Return the mean log loss over images and labels."""
    return float(log_loss(truth.ravel(), np.clip(probabilities.ravel(), EPSILON, 1 - EPSILON)))


def _log_odds(raw: Floats) -> npt.NDArray[np.float64]:
    return log_odds(raw.astype(np.float64))


def _platt(truth: Floats, log_odds: Floats) -> Curve:
    fitted = LogisticRegression(C=np.inf).fit(log_odds[:, None], truth)
    return _within_bounds(float(fitted.coef_[0, 0]), float(fitted.intercept_[0]), truth, log_odds)


def _within_bounds(slope: float, intercept: float, truth: Floats, log_odds: Floats) -> Curve:
    """Keep the slope within `SLOPES`; where it was not, choose the intercept that yields the images' frequency."""
    kept = float(np.clip(slope, *SLOPES))
    if kept == slope:
        return Curve(slope, intercept)
    bent = kept * log_odds
    reach = np.abs(bent).max() + 20  # beyond it the sigmoid is 0 or 1 for every image
    return Curve(kept, float(brentq(lambda shift: expit(bent + shift).mean() - truth.mean(), -reach, reach)))


def _ridge(truth: Floats, log_odds: Floats) -> Curve:
    """Fit slope and intercept with an offset: what is penalised is the distance from (1, 0)."""

    def penalised(x: Floats) -> float:
        z = x[0] * log_odds + x[1]
        return float(np.logaddexp(0, z).sum() - (truth * z).sum() + ((x[0] - 1) ** 2 + x[1] ** 2) / (2 * RIDGE))

    slope, intercept = minimize(penalised, x0=[1.0, 0.0]).x
    return Curve(float(slope), float(intercept))
