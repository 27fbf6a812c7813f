"""Calibration figures: Brier score, expected calibration error, reliability diagram."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from training.evaluation.resampling import Bootstrap, Floats, Rows, mean_over

#: Bins of equal width over 0 to 1 (Naeini et al. 2015; Guo et al. 2017).
BINS = 10


def reliability(
    truth: Floats, scores: Floats, patients: npt.NDArray[Any], findings: Sequence[str], bootstrap: Bootstrap
) -> dict[str, Any]:
    """Measure how far probabilities are from frequencies.

    Returns
    -------
    dict
        ``mean`` over the findings and ``findings``, each with ``brier`` and ``ece``; and ``bins``
        over all findings together: images, mean probability, frequency.
    """
    defined = ~np.isnan(_by_finding(truth, scores)[0])

    def statistic(rows: Rows) -> Floats:
        briers, errors = _by_finding(truth[rows], scores[rows])
        return np.array([mean_over(briers, defined), mean_over(errors, defined), *briers, *errors])

    brier, error, *others = bootstrap.figures(statistic, patients, recentred=True)
    for figure in (error, *others[len(findings) :]):
        if figure["interval"]:
            figure["interval"] = [max(0.0, bound) for bound in figure["interval"]]
    count, known = len(findings), ~np.isnan(truth)
    return {
        "mean": {"brier": brier, "ece": error},
        "findings": {label: {"brier": others[i], "ece": others[count + i]} for i, label in enumerate(findings)},
        "bins": bins(truth[known], scores[known]),
    }


def bins(truth: Floats, scores: Floats) -> list[dict[str, float]]:
    """Sort predictions of one or many findings into bins; empty ones are left out."""
    place = _bin_of(scores)
    return [
        {
            "predictions": int((place == b).sum()),
            "probability": float(scores[place == b].mean()),
            "frequency": float(truth[place == b].mean()),
        }
        for b in range(BINS)
        if (place == b).any()
    ]


def expected_calibration_error(truth: Floats, scores: Floats) -> float:
    """Average the distance between probability and frequency over the bins, weighted by their predictions."""
    return float(np.abs(np.bincount(_bin_of(scores), weights=scores - truth, minlength=BINS)).sum() / len(truth))


def _bin_of(scores: Floats) -> npt.NDArray[np.int64]:
    return np.minimum((scores * BINS).astype(np.int64), BINS - 1)


def _by_finding(truth: Floats, scores: Floats) -> tuple[Floats, Floats]:
    briers, errors = np.full((2, truth.shape[1]), np.nan)
    for i in range(truth.shape[1]):
        known = ~np.isnan(truth[:, i])
        if known.any():
            briers[i] = np.mean((truth[known, i] - scores[known, i]) ** 2)  # Brier 1950
            errors[i] = expected_calibration_error(truth[known, i], scores[known, i])
    return briers, errors
