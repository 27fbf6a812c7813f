"""What validation decides: calibration, operating points, and the default view mode."""

from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import pandas as pd

from cxr_edge.calibration import Calibration, calibrate
from cxr_edge.labels import LABELS
from training.adaptive import fit_adaptive
from training.calibration import FOLDS, METHODS, choose_method
from training.errors import DataError
from training.evaluation.figures import paired
from training.evaluation.resampling import Bootstrap
from training.films import Part
from training.predict import scores_by_mode
from training.thresholds import operating_points

#: Of the patients, for the gain of six views.
RESAMPLES = 1000


def decide(part: Part, per_view: npt.NDArray[np.float32], fitted_on: str) -> dict[str, Any]:
    """Fit calibration, thresholds on calibrated probabilities, when to stop early, and compare one view with six.

    Six views are the default, since they also tell how far the answer depends on the view, unless they
    rank films worse than one: the 95 % interval of the paired difference in mean ROC-AUC lies below 0.

    Parameters
    ----------
    part : Part
        The validation films, enough of them: see `require_enough`.
    per_view : ndarray, (N, views, 15) float32
        Raw probabilities, the unchanged film first.
    fitted_on : str
        What the films are, for the manifest.

    Returns
    -------
    dict
        ``calibration``, ``operating_points`` and ``default_view_mode`` as in the manifest;
        ``figures``: log loss by calibration method, and the paired gain of six views.
    """
    raw = scores_by_mode(per_view)
    patients = part.table["patient"].to_numpy()
    method, losses = choose_method(part.targets, raw["tta"], patients)
    curves = {mode: METHODS[method](part.targets, of_mode) for mode, of_mode in raw.items()}
    if method == "identity":
        calibration = Calibration("identity")
    else:
        calibration = Calibration("platt", **curves, fitted_on=f"{fitted_on}; {method}, chosen by log loss")
    calibrated = {mode: calibrate(of_mode, curves[mode], LABELS) for mode, of_mode in raw.items()}
    points = operating_points(part.targets, calibrated, fitted_on)
    for point in points.values():
        thresholds = point["tta"]["thresholds"]
        point["adaptive"] = fit_adaptive(per_view, calibration.tta, thresholds, patients, fitted_on)
    gain = paired(part.targets, raw["single"], raw["tta"], patients, Bootstrap(RESAMPLES))["mean"]
    return {
        "calibration": msgspec.to_builtins(calibration),
        "operating_points": msgspec.to_builtins(points),
        "default_view_mode": "single" if _below_zero(gain["difference"]["interval"]) else "tta",
        "figures": {"log_loss": losses, "tta_gain": gain},
    }


def require_enough(films: pd.DataFrame) -> None:
    """Raise `DataError` when a label has only one class, or there are fewer patients than folds."""
    truth = films[list(LABELS)].to_numpy()
    if lacking := [label for i, label in enumerate(LABELS) if not 0 < truth[:, i].sum() < len(truth)]:
        raise DataError(
            f"the validation films hold only one class of {', '.join(lacking)}: no threshold can be fitted; "
            "hold out more patients: split.validation, other collections, or more rows of the split file"
        )
    if (patients := films["patient"].nunique()) < FOLDS:
        raise DataError(f"expected validation films of at least {FOLDS} patients, got {patients}; hold out more")


def _below_zero(interval: list[float] | None) -> bool:
    return interval is not None and interval[1] < 0
