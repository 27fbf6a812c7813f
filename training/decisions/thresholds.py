"""Operating points: the threshold of each finding, fitted on validation images."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.metrics import precision_recall_curve, roc_curve

from training.labels import LabelSet

Floats = npt.NDArray[np.floating[Any]]

#: Findings less probable than this are not reported, unless a threshold lies lower still.
MIN_PROBABILITY = 0.05

SENSITIVITY = 0.8
SPECIFICITY = 0.9


def max_f1(truth: Floats, scores: Floats) -> float:
    """Find the score at or above which calling an image positive gives the highest F1."""
    precision, recall, thresholds = precision_recall_curve(truth, scores)
    total = precision + recall
    f1 = np.divide(2 * precision * recall, total, out=np.zeros_like(total), where=total > 0)
    return float(thresholds[np.argmax(f1[:-1])])


def youden(truth: Floats, scores: Floats) -> float:
    """Find the score with the highest sensitivity + specificity - 1 (Youden 1950)."""
    false_positive_rate, sensitivity, thresholds = roc_curve(truth, scores, drop_intermediate=False)
    return float(thresholds[1:][np.argmax((sensitivity - false_positive_rate)[1:])])


def sensitivity_80(truth: Floats, scores: Floats) -> float:
    """Find the highest score at which at least 80 % of the positive images are called positive."""
    _, sensitivity, thresholds = roc_curve(truth, scores, drop_intermediate=False)
    return float(thresholds[np.argmax(sensitivity >= SENSITIVITY)])


def screening(truth: Floats, scores: Floats) -> float:
    """Find the lowest score at or above which at most 10 % of the negative images are called positive.

    Where findings are rare, as in a screening population, most images that are called positive are
    false alarms, so that their share has to be bounded. Where the highest score already calls more
    of them, the threshold lies between it and 1, and no image is called positive.
    """
    false_positive_rate, _, thresholds = roc_curve(truth, scores, drop_intermediate=False)
    few = np.flatnonzero(false_positive_rate <= 1 - SPECIFICITY + 1e-12)[-1]
    return float(thresholds[few]) if few else (float(scores.max()) + 1) / 2


#: The first is the default.
OPERATING_POINTS: Mapping[str, Callable[[Floats, Floats], float]] = {
    "max_f1": max_f1,
    "youden": youden,
    "sensitivity_80": sensitivity_80,
    "screening": screening,
}


def halfway(threshold: float, scores: Floats) -> float:
    """Move a threshold that is some image's score halfway to the next score below.

    The same images are called positive. A difference in the last digit, from another device or
    precision, does not flip the call of the image that the threshold came from.
    """
    below = scores[scores < threshold]
    return (threshold + float(below.max())) / 2 if len(below) else threshold


def operating_points(
    truth: Floats, scores: Mapping[Any, Floats], findings: Sequence[str], fitted_on: str
) -> dict[str, Any]:
    """Fit all operating points for each TTA mode.

    Parameters
    ----------
    truth : ndarray, (N, findings)
        With both classes of each finding.
    scores : mapping
        TTA mode → (N, findings) calibrated probabilities.
    findings : sequence of str
        Names of the columns.
    fitted_on : str
        What the images are, for the manifest.

    Returns
    -------
    dict
        The manifest's ``operating_points``.
    """
    return {
        name: {
            mode: {
                "thresholds": {
                    label: halfway(fit(truth[:, i], of_mode[:, i]), of_mode[:, i]) for i, label in enumerate(findings)
                },
                "fitted_on": fitted_on,
            }
            for mode, of_mode in scores.items()
        }
        for name, fit in OPERATING_POINTS.items()
    }


def least_reported(operating_points: dict[str, Any], labels: LabelSet) -> float:
    """Return the probability below which findings are not reported: `MIN_PROBABILITY`, or a threshold below it."""
    thresholds: list[float] = [
        threshold
        for point in operating_points.values()
        for mode in ("single", "tta")
        for finding, threshold in point[mode]["thresholds"].items()
        if finding in labels.findings
    ]
    return min([MIN_PROBABILITY, *thresholds])
