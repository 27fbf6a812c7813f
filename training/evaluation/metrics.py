"""ROC-AUC and average precision by finding, pooled and within collections; unknown labels are left out."""

from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating[Any]]


class Ranked:
    """Images in the order of their scores, finding by finding: sorted once for all resamples of them.

    Parameters
    ----------
    truth, scores : ndarray, (N, findings)
        Truth is 0, 1, or NaN where unknown.
    groups : ndarray, (N,), optional
        Rank an image only against images of its own group, such as its collection: where label and
        group go together, a pooled figure also rewards distinguishing groups.
    """

    def __init__(self, truth: Floats, scores: Floats, groups: npt.NDArray[Any] | None = None) -> None:
        count = len(truth)
        group = np.zeros(count, np.int64) if groups is None else np.unique(groups, return_inverse=True)[1]
        self._order = np.stack([np.lexsort((of_finding, group)) for of_finding in scores.T], axis=1)
        true, scored = (np.take_along_axis(values, self._order, axis=0) for values in (truth, scores))
        self._positive, self._negative = true == 1, true == 0
        begins = np.diff(np.sort(group), prepend=-1) > 0
        self._groups = np.flatnonzero(begins)
        self._start = self._groups[np.cumsum(begins) - 1]
        new = begins[:, None] | np.vstack([np.ones((1, true.shape[1]), bool), scored[1:] != scored[:-1]])
        ends = np.vstack([new[1:], np.ones((1, true.shape[1]), bool)])
        places = np.arange(count)[:, None]
        # Of the images with the same score: the place of the first, and the place after the last.
        self._first = np.maximum.accumulate(np.where(new, places, 0), axis=0)
        self._after = np.minimum.accumulate(np.where(ends, places + 1, count)[::-1], axis=0)[::-1]

    def aucs(self, rows: npt.NDArray[np.int64] | None = None) -> npt.NDArray[np.float64]:
        """Compute the ROC-AUC of each finding: the share of pairs that are ranked rightly (Hanley and McNeil 1982).

        A pair is a positive and a negative image of one group; one with the same score counts half.

        Parameters
        ----------
        rows : ndarray, (M,) int64, optional
            The images, each as often as it was drawn; all of them once, if left out.

        Returns
        -------
        ndarray, (findings,) float64
            NaN where no group holds both classes.
        """
        positive, negative = self._drawn(rows)
        below = _running_sum(negative)
        lower = (np.take_along_axis(below, self._first, 0) + np.take_along_axis(below, self._after, 0)) / 2
        wins = (positive * (lower - below[self._start])).sum(axis=0)
        in_groups = (np.add.reduceat(of_class, self._groups, axis=0) for of_class in (positive, negative))
        return _shares(wins, np.prod(list(in_groups), axis=0).sum(axis=0))

    def average_precisions(self, rows: npt.NDArray[np.int64] | None = None) -> npt.NDArray[np.float64]:
        """Compute the average precision of each finding, of images in one group.

        It is the mean over the positive images of the precision at their score.

        Parameters
        ----------
        rows : ndarray, (M,) int64, optional
            As for `aucs`.

        Returns
        -------
        ndarray, (findings,) float64
            NaN where only one class is present.
        """
        positive, negative = self._drawn(rows)
        found, false = (
            sums[-1] - np.take_along_axis(sums, self._first, 0) for sums in map(_running_sum, (positive, negative))
        )
        precision = np.divide(found, found + false, out=np.zeros_like(found), where=found > 0)
        both = positive.any(axis=0) & negative.any(axis=0)
        return _shares((positive * precision).sum(axis=0), np.where(both, positive.sum(axis=0), 0))

    def _drawn(self, rows: npt.NDArray[np.int64] | None) -> tuple[Floats, Floats]:
        """Return how often each image counts as a positive and as a negative, in the order of the scores."""
        times = np.ones(len(self._order)) if rows is None else np.bincount(rows, minlength=len(self._order))
        ordered = times.astype(np.float64)[self._order]
        return ordered * self._positive, ordered * self._negative


def _running_sum(values: Floats) -> npt.NDArray[np.float64]:
    """Return the sums over the first 0 to N of (N, findings) values, (N + 1, findings)."""
    return np.vstack([np.zeros((1, values.shape[1])), np.cumsum(values, axis=0)])


def _shares(part: Floats, whole: Floats) -> npt.NDArray[np.float64]:
    return np.asarray(np.divide(part, whole, out=np.full(part.shape, np.nan), where=whole > 0))


def mean_auc(truth: Floats, scores: Floats) -> float:
    """Average the ROC-AUC over the findings of which both classes are present; NaN without any."""
    return mean_known(Ranked(truth, scores).aucs())


def auc_within(truth: Floats, scores: Floats, groups: npt.NDArray[Any]) -> float:
    """Average the ROC-AUC within groups over the findings of which a group holds both classes; NaN without any."""
    return mean_known(Ranked(truth, scores, groups).aucs())


def mean_known(figures: Floats) -> float:
    """Average what is not NaN; NaN without any."""
    known = figures[~np.isnan(figures)]
    return float(known.mean()) if len(known) else float("nan")
