"""Intervals: the bootstrap over patients."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import joblib
import numpy as np
import numpy.typing as npt

from training.evaluation.metrics import mean_known

Floats = npt.NDArray[np.floating[Any]]
Rows = npt.NDArray[np.int64]

#: Percentiles of a 95 % interval.
PERCENTILES = (2.5, 97.5)

#: Share of the resamples that must define a figure: those that do are not a fair draw of all. A finding of one patient
#: is in 63 % of them, one of three patients in 95 %.
FEWEST = 0.95
#: Patients with a finding, and without, for a mean that has an interval on any set of images.
LEAST_PATIENTS = 5


@dataclass(frozen=True)
class Bootstrap:
    """How intervals are drawn: by resampling patients with replacement, since images of one are not independent.

    Attributes
    ----------
    resamples, seed, jobs : int
        `jobs` processes share the work; -1: one per core.
    """

    resamples: int = 1000
    seed: int = 0
    jobs: int = -1

    def figures(
        self,
        statistic: Callable[[Rows], Floats],
        patients: npt.NDArray[Any],
        *,
        recentred: bool = False,
        digits: int = 4,
    ) -> list[dict[str, Any]]:
        """Compute figures with their 95 % percentile intervals.

        Parameters
        ----------
        statistic : callable
            Rows of images → (K,) figures, NaN where one is undefined.
        patients : ndarray, (N,)
        recentred : bool
            Take each figure's mean bias off its resamples first: for a figure that noise can only
            raise, such as a calibration error, which every resample would raise once more.
        digits : int
            Decimals of the returned figures.

        Returns
        -------
        list of dict
            K times ``value``, None where undefined, and ``interval``, None where fewer than
            `FEWEST` of the resamples define the figure.
        """
        drawn = list(self._draw(patients))
        jobs = joblib.effective_n_jobs(self.jobs)
        chunks = [drawn[start :: 4 * jobs] for start in range(4 * jobs)]
        spread = joblib.Parallel(n_jobs=jobs)(joblib.delayed(_each)(statistic, chunk) for chunk in chunks if chunk)
        values, resampled = statistic(np.arange(len(patients))), np.concatenate(spread)
        if recentred:
            resampled = resampled - [
                mean_known(column) - value for column, value in zip(resampled.T, values, strict=True)
            ]
        return [_figure(value, column, digits) for value, column in zip(values, resampled.T, strict=True)]

    def _draw(self, patients: npt.NDArray[Any]) -> list[Rows]:
        rng = np.random.default_rng(self.seed)
        order = np.argsort(patients, kind="stable")
        _, starts = np.unique(patients[order], return_index=True)
        rows_of = np.split(order, starts[1:])
        return [
            np.concatenate([rows_of[i] for i in rng.integers(len(rows_of), size=len(rows_of))])
            for _ in range(self.resamples)
        ]


def _each(statistic: Callable[[Rows], Floats], chunk: list[Rows]) -> Floats:
    return np.stack([statistic(rows) for rows in chunk])


def _figure(value: float, spread: Floats, digits: int) -> dict[str, Any]:
    known = spread[~np.isnan(spread)]
    if np.isnan(value):
        return {"value": None, "interval": None}
    enough = len(known) >= FEWEST * len(spread)
    bounds = [round(float(bound), digits) for bound in np.percentile(known, PERCENTILES)] if enough else None
    return {"value": round(float(value), digits), "interval": bounds}


def frequent(truth: Floats, patients: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """Return the findings whose both classes are images of at least `LEAST_PATIENTS` patients, (findings,) bool."""
    return np.array(
        [
            min(len(np.unique(patients[of_finding == value])) for value in (0, 1)) >= LEAST_PATIENTS
            for of_finding in truth.T
        ]
    )


def mean_over(figures: Floats, defined: npt.NDArray[np.bool_]) -> float:
    """Average the figures that all images together define; NaN in a resample that lacks one of them.

    Means over differing findings are not draws of one figure.
    """
    return float(figures[defined].mean()) if defined.any() else float("nan")
