"""Operating points: the threshold of each label, fitted on validation films."""

from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.metrics import precision_recall_curve

from cxr_edge.labels import LABELS
from training.predict import scores_by_mode


def max_f1_threshold(truth: npt.NDArray[np.float32], scores: npt.NDArray[np.float64]) -> float:
    """Find the score at or above which calling a film positive gives the highest F1.

    Parameters
    ----------
    truth : ndarray, (N,), 0 or 1
    scores : ndarray, (N,) float

    Returns
    -------
    float

    Raises
    ------
    ValueError
        No film is positive, so that no threshold is better than another.
    """
    if not truth.any():
        raise ValueError("expected at least one positive film to fit a threshold on; hold out more patients")
    precision, recall, thresholds = precision_recall_curve(truth, scores)
    total = precision + recall
    f1 = np.divide(2 * precision * recall, total, out=np.zeros_like(total), where=total > 0)
    return float(thresholds[np.argmax(f1[:-1])])


def operating_points(
    truth: npt.NDArray[np.float32], per_view: npt.NDArray[np.float32], fitted_on: str
) -> dict[str, Any]:
    """Fit thresholds for one view and for the average of all.

    Parameters
    ----------
    truth : ndarray, (N, 15)
    per_view : ndarray, (N, views, 15) float32
        Raw probabilities, the unchanged film first.
    fitted_on : str
        What the films are, for the manifest.

    Returns
    -------
    dict
        The manifest's ``operating_points``.
    """
    return {
        "max_f1": {
            mode: {
                "thresholds": {label: max_f1_threshold(truth[:, i], of_mode[:, i]) for i, label in enumerate(LABELS)},
                "fitted_on": fitted_on,
            }
            for mode, of_mode in scores_by_mode(per_view).items()
        }
    }
