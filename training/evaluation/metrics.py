"""ROC-AUC and average precision by finding, pooled and within collections; unknown labels are left out."""

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata

Floats = npt.NDArray[np.floating[Any]]


def roc_aucs(truth: Floats, scores: Floats) -> npt.NDArray[np.float64]:
    """Compute the ROC-AUC of each finding, as the Mann-Whitney statistic of midranks (Hanley and McNeil 1982).

    scikit-learn computes the same, one label at a time. Here all labels are ranked at once, for the
    many thousand calls of the bootstrap.

    Parameters
    ----------
    truth, scores : ndarray, (N, findings)
        Truth is 0, 1, or NaN where unknown.

    Returns
    -------
    ndarray, (findings,) float64
        NaN where only one class is present.
    """
    known = np.where(np.isnan(truth), np.nan, scores)
    unknown = np.isnan(truth).any()
    ranks = rankdata(known, axis=0, nan_policy="omit" if unknown else "propagate")
    positive, negative = (truth == 1).sum(axis=0), (truth == 0).sum(axis=0)
    rank_sum = np.where(truth == 1, ranks, 0).sum(axis=0)
    wins = rank_sum - positive * (positive + 1) / 2
    pairs = positive * negative
    return np.asarray(np.divide(wins, pairs, out=np.full(truth.shape[1], np.nan), where=pairs > 0))


def average_precisions(truth: Floats, scores: Floats) -> npt.NDArray[np.float64]:
    """Compute the average precision of each finding: the mean over its positive images of the precision at their score.

    scikit-learn computes the same, one label at a time; see `roc_aucs`.

    Parameters
    ----------
    truth, scores : ndarray, (N, findings)
        Truth is 0, 1, or NaN where unknown.

    Returns
    -------
    ndarray, (findings,) float64
        NaN where only one class is present.
    """
    order = np.argsort(-scores, axis=0)
    ordered, sorted_scores = (np.take_along_axis(values, order, axis=0) for values in (truth, scores))
    found, known = np.cumsum(ordered == 1, axis=0), np.cumsum(~np.isnan(ordered), axis=0)
    places = np.arange(len(scores))[:, None]
    last_of_ties = np.vstack([sorted_scores[:-1] != sorted_scores[1:], np.ones((1, scores.shape[1]), bool)])
    end = np.minimum.accumulate(np.where(last_of_ties, places, len(scores))[::-1], axis=0)[::-1]
    at_score = np.take_along_axis(found, end, axis=0) / np.maximum(np.take_along_axis(known, end, axis=0), 1)
    positive, both = found[-1], (found[-1] > 0) & (found[-1] < known[-1])
    summed = np.where(ordered == 1, at_score, 0).sum(axis=0)
    return np.asarray(np.divide(summed, positive, out=np.full(truth.shape[1], np.nan), where=both))


def mean_auc(truth: Floats, scores: Floats) -> float:
    """Average `roc_aucs` over the findings of which both classes are present; NaN without any."""
    return mean_known(roc_aucs(truth, scores))


def aucs_within(truth: Floats, scores: Floats, groups: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Compute the ROC-AUC of each finding, ranking an image only against images of its own group.

    Where label and collection go together, the pooled AUC also rewards distinguishing collections.
    A finding's figure is the mean over groups, weighted by their pairs of a positive and a
    negative image: the probability that a random such pair is ranked rightly.

    Parameters
    ----------
    truth, scores : ndarray, (N, findings)
    groups : ndarray, (N,)

    Returns
    -------
    ndarray, (findings,) float64
        NaN where no group holds both classes.
    """
    weighted = np.zeros(truth.shape[1])
    pairs = np.zeros(truth.shape[1])
    for group in np.unique(groups):
        rows = groups == group
        count = (truth[rows] == 1).sum(axis=0) * (truth[rows] == 0).sum(axis=0)
        weighted += np.where(count > 0, np.nan_to_num(roc_aucs(truth[rows], scores[rows])) * count, 0)
        pairs += count
    return np.asarray(np.divide(weighted, pairs, out=np.full(truth.shape[1], np.nan), where=pairs > 0))


def auc_within(truth: Floats, scores: Floats, groups: npt.NDArray[Any]) -> float:
    """Average `aucs_within` over the findings of which a group holds both classes; NaN without any."""
    return mean_known(aucs_within(truth, scores, groups))


def mean_known(figures: Floats) -> float:
    """Average what is not NaN; NaN without any."""
    known = figures[~np.isnan(figures)]
    return float(known.mean()) if len(known) else float("nan")
