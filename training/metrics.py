"""ROC-AUC over the findings, pooled and within collections."""

from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.metrics import roc_auc_score

from cxr_edge.labels import DISEASES

Floats = npt.NDArray[np.floating[Any]]


def roc_aucs(truth: Floats, scores: Floats) -> npt.NDArray[np.float64]:
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


def mean_auc(truth: Floats, scores: Floats) -> float:
    """Average `roc_aucs` over the diseases of which both classes are present; NaN without any."""
    return _mean(roc_aucs(truth, scores))


def auc_within(truth: Floats, scores: Floats, groups: npt.NDArray[Any]) -> float:
    """Average the ROC-AUC over diseases, ranking a film only against films of its own group.

    Where label and collection go together, the pooled AUC also rewards telling collections apart.
    A disease's figure is the mean over groups, weighted by their pairs of a positive and a
    negative film: the probability that a random such pair is ranked rightly.

    Parameters
    ----------
    truth, scores : ndarray, (N, 15)
    groups : ndarray, (N,)

    Returns
    -------
    float
        NaN where no group holds both classes of any disease.
    """
    weighted = np.zeros(len(DISEASES))
    pairs = np.zeros(len(DISEASES))
    for group in np.unique(groups):
        rows = groups == group
        positive = truth[rows, : len(DISEASES)].sum(axis=0)
        count = positive * (rows.sum() - positive)
        weighted += np.where(count > 0, np.nan_to_num(roc_aucs(truth[rows], scores[rows])) * count, 0)
        pairs += count
    return _mean(np.divide(weighted, pairs, out=np.full(len(DISEASES), np.nan), where=pairs > 0))


def _mean(figures: npt.NDArray[np.float64]) -> float:
    known = figures[~np.isnan(figures)]
    return float(known.mean()) if len(known) else float("nan")
