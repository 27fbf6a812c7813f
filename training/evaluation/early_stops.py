"""What stopping early changes: the decisions of adaptive TTA against those of all variants, and what it takes."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from cxr_edge.model.evaluation import Evaluation
from cxr_edge.model.model import Model
from training.evaluation.resampling import Bootstrap, Floats, Rows
from training.labels import LabelSet


def early_stops(
    model: Model,
    evaluations: Sequence[Evaluation],
    calibrated: npt.NDArray[np.float64],
    patients: npt.NDArray[Any],
    bootstrap: Bootstrap,
) -> dict[str, dict[str, Any]]:
    """Decide adaptively, at every operating point with a rule for stopping.

    Parameters
    ----------
    model : Model
    evaluations : sequence of Evaluation
        By all TTA variants.
    calibrated : ndarray, (N, labels) float64
        The calibrated mean over all variants.
    patients : ndarray, (N,)
    bootstrap : Bootstrap

    Returns
    -------
    dict
        Operating point → ``agreement``, the share of image-findings decided as by all variants, and ``variants``, their
        mean number for an image; each with its interval.
    """
    manifest, labels = model.manifest, LabelSet.of(model.labels)
    columns, found = labels.finding_columns, {}
    for name, point in manifest.operating_points.items():
        if point.adaptive is None:
            continue
        settings = model.settings(adaptive=True, operating_point=name)
        results = [model.decide(evaluation, settings) for evaluation in evaluations]
        limits = np.array([point.tta.thresholds[label] for label in labels.findings])
        adaptive = np.array([result.values for result in results])[:, columns] >= limits
        agrees = (adaptive == (calibrated[:, columns] >= limits)).mean(axis=1)
        variants = np.array([result.variants for result in results], np.float64)
        found[name] = {**_means(agrees, variants, patients, bootstrap), "of": len(manifest.tta.variants)}
    return found


def _means(agrees: Floats, variants: Floats, patients: npt.NDArray[Any], bootstrap: Bootstrap) -> dict[str, Any]:
    def statistic(rows: Rows) -> Floats:
        return np.array([agrees[rows].mean(), variants[rows].mean()])

    agreement, mean_variants = bootstrap.figures(statistic, patients, digits=5)
    return {"agreement": agreement, "variants": mean_variants}
