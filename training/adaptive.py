"""When the first views are enough: margins fitted on validation films, as narrow as the decisions allow."""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from cxr_edge.adaptive import Adaptive
from cxr_edge.calibration import Curve, calibrate, log_odds
from cxr_edge.labels import DISEASES, LABELS
from cxr_edge.views import SIX_VIEWS

Floats = npt.NDArray[np.float64]

#: The film as it is and mirrored: of two views, the two whose mean comes closest to that of all six.
FIRST: Final = tuple(index for index, view in enumerate(SIX_VIEWS) if view.brightness == 1.0)

#: Shares of the films whose log-odds the remaining views move by less than the margin.
COVERAGES: Final = tuple(round(0.5 + 0.05 * step, 2) for step in range(11))

#: Of the film-findings of held-out patients, how many may be decided otherwise: a fifth of the .1 % that users are
#: promised, since films from elsewhere may move further.
TOLERATED: Final = 2e-4

#: Divisions of the patients into two halves; each half is decided by margins that the other was fitted on.
DIVISIONS: Final = 20

_DISEASES: Final = [LABELS.index(disease) for disease in DISEASES]


def fit_adaptive(
    per_view: npt.NDArray[np.float32],
    curves: Mapping[str, Curve] | None,
    thresholds: Mapping[str, float],
    patients: npt.NDArray[Any],
    fitted_on: str,
) -> Adaptive:
    """Fit the rule of one operating point.

    A margin is the quantile of how far a disease's log-odds move from the mean of the first views to the mean of all;
    the narrowest of `COVERAGES` is taken by which at most `TOLERATED` of the decisions of held-out patients change.

    Parameters
    ----------
    per_view : ndarray, (N, views, 15) float32
        Raw probabilities of validation films.
    curves : mapping or None
        Calibration of all views.
    thresholds : mapping
        Label → threshold of all views.
    patients : ndarray, (N,)
    fitted_on : str
        What the films are, for the manifest.
    """

    def decisive(views: npt.NDArray[np.float32]) -> Floats:
        calibrated = calibrate(views.mean(axis=1, dtype=np.float64), curves, LABELS)
        return (log_odds(calibrated) - log_odds(limits))[:, _DISEASES]

    limits = np.array([thresholds[label] for label in LABELS])
    first, full = decisive(per_view[:, FIRST]), decisive(per_view)
    coverage = next((c for c in COVERAGES if held_out_changes(first, full, patients, c) <= TOLERATED), COVERAGES[-1])
    margins = dict(zip(DISEASES, _margins(first, full, coverage).tolist(), strict=True))
    return Adaptive(FIRST, margins, f"{fitted_on}; margins cover {coverage:.0%} of the changes")


def held_out_changes(first: Floats, full: Floats, patients: npt.NDArray[Any], coverage: float) -> float:
    """Give the share of film-findings of held-out patients that stopping early decides otherwise.

    Parameters
    ----------
    first, full : ndarray, (N, diseases) float64
        Log-odds above the threshold, of the first views and of all.
    patients : ndarray, (N,)
    coverage : float
    """
    rng = np.random.default_rng(0)
    everyone = np.unique(patients)
    changed = []
    for _ in range(DIVISIONS):
        half = np.isin(patients, rng.permutation(everyone)[: len(everyone) // 2])
        for fitted, held_out in ((half, ~half), (~half, half)):
            stops = np.asarray((np.abs(first[held_out]) > _margins(first[fitted], full[fitted], coverage)).all(axis=1))
            otherwise = (first[held_out] >= 0) != (full[held_out] >= 0)
            changed.append((otherwise & stops[:, None]).mean())
    return float(np.mean(changed))


def _margins(first: Floats, full: Floats, coverage: float) -> Floats:
    return np.asarray(np.quantile(np.abs(first - full), coverage, axis=0))
