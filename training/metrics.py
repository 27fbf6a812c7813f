"""ROC-AUC and average precision by finding, pooled and within collections; unknown labels are left out."""

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata
from sklearn import config_context
from sklearn.metrics import average_precision_score

from cxr_edge.labels import DISEASES

Floats = npt.NDArray[np.floating[Any]]


def roc_aucs(truth: Floats, scores: Floats) -> npt.NDArray[np.float64]:
    """Compute the ROC-AUC of each disease, as the Mann-Whitney statistic of midranks (Hanley and McNeil 1982).

    scikit-learn gives the same, one label at a time; for the bootstrap's many thousand calls all
    labels are ranked at once.

    Parameters
    ----------
    truth, scores : ndarray, (N, 15), in the order of the labels
        Truth is 0, 1, or NaN where unknown.

    Returns
    -------
    ndarray, (14,) float64
        NaN where only one class is present.
    """
    told = truth[:, : len(DISEASES)]
    said = np.where(np.isnan(told), np.nan, scores[:, : len(DISEASES)])
    unknown = np.isnan(told).any()
    ranks = rankdata(said, axis=0, nan_policy="omit" if unknown else "propagate")
    positive, negative = (told == 1).sum(axis=0), (told == 0).sum(axis=0)
    rank_sum = np.where(told == 1, ranks, 0).sum(axis=0)
    wins = rank_sum - positive * (positive + 1) / 2
    pairs = positive * negative
    return np.asarray(np.divide(wins, pairs, out=np.full(len(DISEASES), np.nan), where=pairs > 0))


def average_precisions(truth: Floats, scores: Floats) -> npt.NDArray[np.float64]:
    """Compute the average precision of each disease; see `roc_aucs`."""
    figures = np.full(len(DISEASES), np.nan)
    with config_context(assume_finite=True, skip_parameter_validation=True):
        for column in range(len(DISEASES)):
            known = ~np.isnan(truth[:, column])
            told = truth[known, column]
            if 0 < told.sum() < len(told):
                figures[column] = average_precision_score(told, scores[known, column])
    return figures


def mean_auc(truth: Floats, scores: Floats) -> float:
    """Average `roc_aucs` over the diseases of which both classes are present; NaN without any."""
    return mean_known(roc_aucs(truth, scores))


def aucs_within(truth: Floats, scores: Floats, groups: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Compute the ROC-AUC of each disease, ranking a film only against films of its own group.

    Where label and collection go together, the pooled AUC also rewards telling collections apart.
    A disease's figure is the mean over groups, weighted by their pairs of a positive and a
    negative film: the probability that a random such pair is ranked rightly.

    Parameters
    ----------
    truth, scores : ndarray, (N, 15)
    groups : ndarray, (N,)

    Returns
    -------
    ndarray, (14,) float64
        NaN where no group holds both classes.
    """
    weighted = np.zeros(len(DISEASES))
    pairs = np.zeros(len(DISEASES))
    for group in np.unique(groups):
        rows = groups == group
        told = truth[rows, : len(DISEASES)]
        count = (told == 1).sum(axis=0) * (told == 0).sum(axis=0)
        weighted += np.where(count > 0, np.nan_to_num(roc_aucs(truth[rows], scores[rows])) * count, 0)
        pairs += count
    return np.asarray(np.divide(weighted, pairs, out=np.full(len(DISEASES), np.nan), where=pairs > 0))


def auc_within(truth: Floats, scores: Floats, groups: npt.NDArray[Any]) -> float:
    """Average `aucs_within` over the diseases of which a group holds both classes; NaN without any."""
    return mean_known(aucs_within(truth, scores, groups))


def mean_known(figures: Floats) -> float:
    """Average what is not NaN; NaN without any."""
    known = figures[~np.isnan(figures)]
    return float(known.mean()) if len(known) else float("nan")
