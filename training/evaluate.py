"""Evaluation: ROC-AUC by finding and over the 14, with bootstrap intervals by patient."""

from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.metrics import roc_auc_score

from cxr_edge.labels import DISEASES

RESAMPLES = 1000


def roc_aucs(truth: npt.NDArray[np.float32], scores: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Compute the ROC-AUC of each disease; NaN where only one class is present.

    Parameters
    ----------
    truth, scores : ndarray, (N, 15), in the order of the labels

    Returns
    -------
    ndarray, (14,) float64
    """
    columns = range(len(DISEASES))
    present = [0 < truth[:, c].sum() < len(truth) for c in columns]
    return np.array([roc_auc_score(truth[:, c], scores[:, c]) if present[c] else np.nan for c in columns])


def evaluate(
    truth: npt.NDArray[np.float32],
    scores: npt.NDArray[np.float64],
    patients: npt.NDArray[np.int64],
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> dict[str, Any]:
    """Give the mean ROC-AUC over the 14 findings and each finding's, with 95 % intervals.

    Intervals are percentiles over resamples of the patients with replacement, since films of one
    patient are not independent.

    Parameters
    ----------
    truth, scores : ndarray, (N, 15)
    patients : ndarray, (N,)
    resamples, seed : int

    Returns
    -------
    dict
        ``mean_auc`` and one entry per finding, each with ``auc`` and ``interval``.
    """
    rng = np.random.default_rng(seed)
    rows_of = [np.flatnonzero(patients == patient) for patient in np.unique(patients)]
    drawn_aucs = []
    for _ in range(resamples):
        drawn = rng.integers(len(rows_of), size=len(rows_of))
        rows = np.concatenate([rows_of[i] for i in drawn])
        drawn_aucs.append(roc_aucs(truth[rows], scores[rows]))
    spread = np.array(drawn_aucs)
    aucs = roc_aucs(truth, scores)
    return {
        "films": len(truth),
        "patients": len(rows_of),
        "resamples": resamples,
        "mean_auc": _figure(aucs.mean(), np.nanmean(spread, axis=1)),
        "findings": {label: _figure(aucs[i], spread[:, i]) for i, label in enumerate(DISEASES)},
    }


def _figure(auc: np.float64, spread: npt.NDArray[np.float64]) -> dict[str, Any]:
    low, high = np.nanpercentile(spread, [2.5, 97.5])
    return {"auc": round(float(auc), 4), "interval": [round(float(low), 4), round(float(high), 4)]}
