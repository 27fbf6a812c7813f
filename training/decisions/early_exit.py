"""When the first TTA variants are enough: margins fitted on validation images, as narrow as the decisions allow."""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from cxr_edge.model.calibration import log_odds
from cxr_edge.model.early_exit import EarlyExit
from training.network.tta import VARIANTS

Floats = npt.NDArray[np.float64]

#: The image as it is and flipped: of two variants, the two whose mean comes closest to that of all.
FIRST: Final = tuple(index for index, variant in enumerate(VARIANTS) if variant.brightness == 1.0)

#: Shares of the images whose log-odds the remaining variants move by less than the margin.
COVERAGES: Final = tuple(round(0.5 + 0.05 * step, 2) for step in range(11))

#: Of the image-findings of held-out patients, how many may be decided otherwise: a fifth of the 0.1 % that users are
#: promised, since images from elsewhere may move further.
TOLERATED: Final = 2e-4

#: Divisions of the patients into two halves; each half is decided by margins that the other was fitted on.
DIVISIONS: Final = 20


def fit_early_exit(
    first: Floats, full: Floats, thresholds: Mapping[str, float], patients: npt.NDArray[Any], fitted_on: str
) -> EarlyExit:
    """Fit the rule of one operating point.

    A margin is the quantile of how far a finding's log-odds move from the mean of the first variants to the mean of
    all; the narrowest of `COVERAGES` is taken by which at most `TOLERATED` of the decisions on held-out patients
    change.

    Parameters
    ----------
    first, full : ndarray, (N, findings) float64
        Calibrated probabilities of validation images, averaged over the first variants and over all.
    thresholds : mapping
        Finding → threshold of all variants, in the order of the columns.
    patients : ndarray, (N,)
    fitted_on : str
        What the images are, for the manifest.
    """
    limits = log_odds(np.array(list(thresholds.values())))
    first, full = log_odds(first) - limits, log_odds(full) - limits
    coverage = next((c for c in COVERAGES if held_out_changes(first, full, patients, c) <= TOLERATED), COVERAGES[-1])
    margins = dict(zip(thresholds, _margins(first, full, coverage).tolist(), strict=True))
    return EarlyExit(FIRST, margins, f"{fitted_on}; margins cover {coverage:.0%} of the changes")


def held_out_changes(first: Floats, full: Floats, patients: npt.NDArray[Any], coverage: float) -> float:
    """Return the share of image-findings of held-out patients that stopping early decides otherwise.

    Parameters
    ----------
    first, full : ndarray, (N, findings) float64
        Log-odds above the threshold, of the first variants and of all.
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
