"""What validation decides: calibration, operating points, and the default TTA mode."""

from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import pandas as pd

from cxr_edge.model.calibration import Calibration, calibrate
from training.data.images import Part
from training.decisions.calibration import FOLDS, METHODS, choose_method
from training.decisions.early_exit import FIRST, fit_early_exit
from training.decisions.thresholds import operating_points
from training.errors import DataError
from training.evaluation.figures import paired
from training.evaluation.predictions import scores_by_mode
from training.evaluation.resampling import Bootstrap
from training.labels import LabelSet

#: Of the patients, for the gain of TTA.
RESAMPLES = 1000


def decide(part: Part, per_variant: npt.NDArray[np.float32], fitted_on: str) -> dict[str, Any]:
    """Fit calibration, thresholds on calibrated probabilities, when to stop early, and compare one variant with all.

    TTA is the default, since it also shows how far the answer depends on the variant, unless it ranks images worse
    than one variant does: the 95 % interval of the paired difference in mean ROC-AUC lies below 0.

    Parameters
    ----------
    part : Part
        The validation images, enough of them: see `require_enough`.
    per_variant : ndarray, (N, variants, labels) float32
        Raw probabilities, the unchanged image first.
    fitted_on : str
        What the images are, for the manifest.

    Returns
    -------
    dict
        ``calibration`` and ``operating_points`` as in the manifest; ``default_tta_mode``;
        ``figures``: log loss by calibration method, and the paired gain of TTA.
    """
    raw, labels = scores_by_mode(per_variant), part.labels
    patients, columns = part.table["patient"].to_numpy(), labels.finding_columns
    method, losses = choose_method(part.targets, raw["tta"], patients, labels.names)
    curves = {mode: METHODS[method](part.targets, of_mode, labels.names) for mode, of_mode in raw.items()}
    if method == "identity":
        calibration = Calibration("identity")
    else:
        calibration = Calibration("platt", **curves, fitted_on=f"{fitted_on}; {method}, chosen by log loss")
    calibrated = {mode: calibrate(scores, curves[mode], labels.names)[:, columns] for mode, scores in raw.items()}
    points = operating_points(part.findings, calibrated, labels.findings, fitted_on)
    first_mean = per_variant[:, FIRST].mean(axis=1, dtype=np.float64)
    first = calibrate(first_mean, curves["tta"], labels.names)[:, columns]
    for point in points.values():
        thresholds = point["tta"]["thresholds"]
        point["adaptive"] = fit_early_exit(first, calibrated["tta"], thresholds, patients, fitted_on)
    scores = (raw["single"][:, columns], raw["tta"][:, columns])
    gain = paired(part.findings, scores, patients, labels.findings, Bootstrap(RESAMPLES))["mean"]
    return {
        "calibration": msgspec.to_builtins(calibration),
        "operating_points": msgspec.to_builtins(points),
        "default_tta_mode": "single" if _below_zero(gain["difference"]["interval"]) else "tta",
        "figures": {"log_loss": losses, "tta_gain": gain},
    }


def require_enough(images: pd.DataFrame, labels: LabelSet) -> None:
    """Raise `DataError` when a label has only one class, or there are fewer patients than folds."""
    truth = images[list(labels.names)].to_numpy()
    if lacking := [label for i, label in enumerate(labels.names) if not 0 < truth[:, i].sum() < len(truth)]:
        raise DataError(
            f"the validation images hold only one class of {', '.join(lacking)}: no threshold can be fitted; "
            "hold out more patients: split.validation, other collections, or more rows of the split file"
        )
    if (patients := images["patient"].nunique()) < FOLDS:
        raise DataError(f"expected validation images of at least {FOLDS} patients, got {patients}; hold out more")


def _below_zero(interval: list[float] | None) -> bool:
    return interval is not None and interval[1] < 0
