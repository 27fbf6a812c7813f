"""What validation decides: calibration, operating points, and the default TTA mode."""

from collections.abc import Sequence
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt
import pandas as pd

from cxr_edge.model.calibration import Calibration, Curve, calibrate
from cxr_edge.model.labels import Label
from training.decisions.calibration import FOLDS, METHODS, choose_method
from training.decisions.early_exit import FIRST, fit_early_exit
from training.decisions.thresholds import operating_points
from training.errors import DataError
from training.evaluation.figures import paired
from training.evaluation.predictions import MODES, scores_by_mode
from training.evaluation.resampling import Bootstrap
from training.labels import LabelSet

#: Images with and without a label that its curve and thresholds are fitted on, at least, where there is a choice.
LEAST_IMAGES: Final = 10

#: Of the patients, for the gain of TTA.
RESAMPLES = 1000


def decide(
    images: pd.DataFrame, labels: LabelSet, per_variant: npt.NDArray[np.float32], fitted_on: str
) -> dict[str, Any]:
    """Fit calibration, and thresholds on calibrated probabilities, and compare one variant with all.

    TTA is the default, since it also shows how far the answer depends on the variant, unless it ranks images worse
    than one variant does: the 95 % interval of the paired difference in mean ROC-AUC lies below 0.

    Parameters
    ----------
    images : DataFrame
        ``patient``, ``collection``, and the labels as 0 and 1; enough of them: see `require_enough`.
    labels : LabelSet
    per_variant : ndarray, (N, variants, labels) float32
        Raw probabilities, the unchanged image first.
    fitted_on : str
        What the images are, for the manifest.

    Returns
    -------
    dict
        ``calibration`` and ``operating_points`` as in the manifest, these without the rules of
        `add_early_exits`; ``default_tta_mode``; ``figures``: log loss by calibration method, and the
        paired gain of TTA.
    """
    raw, targets, columns = scores_by_mode(per_variant), images[list(labels.names)].to_numpy(), labels.finding_columns
    patients, truth = images["patient"].to_numpy(), targets[:, columns]
    method, losses = choose_method(targets, raw["tta"], patients, labels.names)
    curves = {mode: METHODS[method](targets, of_mode, labels.names) for mode, of_mode in raw.items()}
    if method == "identity":
        calibration = Calibration("identity")
    else:
        calibration = Calibration("platt", **curves, fitted_on=f"{fitted_on}; {method}, chosen by log loss")
    calibrated = {mode: calibrate(scores, curves[mode], labels.names)[:, columns] for mode, scores in raw.items()}
    points = operating_points(truth, calibrated, labels.findings, fitted_on)
    scores = (raw["single"][:, columns], raw["tta"][:, columns])
    gain = paired(truth, scores, images, labels.findings, Bootstrap(RESAMPLES))["mean"]
    return {
        "calibration": msgspec.to_builtins(calibration),
        "operating_points": msgspec.to_builtins(points),
        "default_tta_mode": "single" if _below_zero(gain["difference"]["interval"]) else "tta",
        "figures": {"log_loss": losses, "tta_gain": gain},
    }


def rare_labels(images: pd.DataFrame, labels: LabelSet) -> tuple[str, ...]:
    """Return the labels with fewer than `LEAST_IMAGES` images of either class: a threshold on one would be chance."""
    marks = images[list(labels.names)]
    fewest = np.minimum((marks == 1).sum(), (marks == 0).sum())
    return tuple(name for name in labels.names if fewest[name] < LEAST_IMAGES)


def decide_part(
    images: pd.DataFrame,
    labels: LabelSet,
    per_variant: npt.NDArray[np.float32],
    chosen: npt.NDArray[np.bool_],
    fitted_on: str,
) -> dict[str, Any]:
    """Decide as `decide` does on some of the images, but the labels that are rare among these on all of them.

    Parameters
    ----------
    images, labels, per_variant, fitted_on
        As for `decide`.
    chosen : ndarray, (N,) bool
        The images that decide; see `rare_labels`.
    """
    rare = () if chosen.all() else rare_labels(images[chosen], labels)
    columns = [column for column, name in enumerate(labels.names) if name not in rare]
    common = LabelSet.of([labels.records[column] for column in columns])
    decided = decide(images[chosen].reset_index(drop=True), common, per_variant[chosen][:, :, columns], fitted_on)
    if rare:
        _adopt(decided, decide(images, labels, per_variant, fitted_on), rare, labels)
    return decided


def decide_known(
    groups: Sequence[tuple[npt.NDArray[np.bool_], LabelSet]],
    images: pd.DataFrame,
    labels: LabelSet,
    per_variant: npt.NDArray[np.float32],
    fitted_on: str,
) -> dict[str, Any]:
    """Decide as `decide` does, each label on the images on which it is known.

    Parameters
    ----------
    groups : sequence of (ndarray, LabelSet)
        See `known_groups`; the first decides on the TTA mode.
    images, labels, per_variant, fitted_on
        As for `decide`; labels may be NaN.

    Returns
    -------
    dict
        As `decide` returns it, of the labels of the groups; ``figures`` are the means over all images and labels.
    """
    of_groups = []
    for known, of_group in groups:
        columns = [labels.names.index(name) for name in of_group.names]
        table = images[known].reset_index(drop=True)
        of_groups.append(decide(table, of_group, per_variant[known][:, :, columns], fitted_on))
    decided = of_groups[0]
    weights = [known.sum() * len(of_group) for known, of_group in groups]
    losses = [of["figures"]["log_loss"] for of in of_groups]
    decided["figures"]["log_loss"] = {
        method: float(np.average([loss[method] for loss in losses], weights=weights)) for method in losses[0]
    }
    # By group, the method with the least loss was taken.
    decided["figures"]["least_log_loss"] = float(np.average([min(loss.values()) for loss in losses], weights=weights))
    for (_, of_group), other in zip(groups[1:], of_groups[1:], strict=True):
        _adopt(decided, other, of_group.names, labels)
    return decided


def known_groups(images: pd.DataFrame, labels: LabelSet) -> list[tuple[npt.NDArray[np.bool_], LabelSet]]:
    """Group labels by the images on which they are known; the group with most marks first.

    Labels that are `rare_labels` among these images are left out, and groups without a finding, or of fewer patients
    than folds.

    Returns
    -------
    list of (ndarray, LabelSet)
        The images, (N,) bool, and the labels.
    """
    groups: dict[bytes, tuple[npt.NDArray[np.bool_], list[Label]]] = {}
    for label in labels.records:
        known = images[label.name].notna().to_numpy()
        groups.setdefault(known.tobytes(), (known, []))[1].append(label)
    found = []
    for known, of_group in groups.values():
        rare = rare_labels(images[known], LabelSet.of(of_group))
        common = LabelSet.of([label for label in of_group if label.name not in rare])
        if common.findings and images["patient"][known].nunique() >= FOLDS:
            found.append((known, common))
    return sorted(found, key=lambda group: -int(group[0].sum()) * len(group[1]))


def _adopt(decided: dict[str, Any], other: dict[str, Any], names: Sequence[str], labels: LabelSet) -> None:
    """Give labels the curves and thresholds of other decisions; all in the order of the labels."""
    for mode in MODES:
        for point, of_other in other["operating_points"].items():
            thresholds = decided["operating_points"][point][mode]["thresholds"]
            thresholds |= {name: of_other[mode]["thresholds"][name] for name in names if name in labels.findings}
            decided["operating_points"][point][mode]["thresholds"] = {
                name: thresholds[name] for name in labels.findings if name in thresholds
            }
    if all(which["calibration"]["method"] == "identity" for which in (decided, other)):
        return
    curves = {mode: _curves(decided, mode, labels) for mode in MODES}
    for mode in MODES:
        curves[mode] |= {name: _curves(other, mode, labels)[name] for name in names}
    stated = decided["calibration"]["fitted_on"] or other["calibration"]["fitted_on"]
    in_order = {mode: {name: curves[mode][name] for name in labels.names if name in curves[mode]} for mode in MODES}
    decided["calibration"] = {"method": "platt", **in_order, "fitted_on": stated}


def _curves(decided: dict[str, Any], mode: str, labels: LabelSet) -> dict[str, Any]:
    as_they_are = dict.fromkeys(labels.names, msgspec.to_builtins(Curve(1.0, 0.0)))
    return decided["calibration"].get(mode) or as_they_are


def add_early_exits(
    decided: dict[str, Any], labels: LabelSet, per_variant: npt.NDArray[np.float32], images: pd.DataFrame
) -> None:
    """Fit for each operating point when the first variants are enough; the images need no labels.

    Parameters
    ----------
    decided : dict
        As `decide` returns it; its operating points gain ``adaptive``.
    labels : LabelSet
    per_variant : ndarray, (N, variants, labels) float32
        Raw probabilities, by `training.network.tta.VARIANTS`.
    images : DataFrame
        With ``patient``.
    """
    calibration = msgspec.convert(decided["calibration"], Calibration)
    means = (variants.mean(axis=1, dtype=np.float64) for variants in (per_variant[:, FIRST], per_variant))
    first, full = (calibrate(mean, calibration.tta, labels.names)[:, labels.finding_columns] for mean in means)
    patients = images["patient"].to_numpy()
    for point in decided["operating_points"].values():
        fitted_on = point["tta"]["fitted_on"]
        thresholds = {label: point["tta"]["thresholds"][label] for label in labels.findings}
        rule = fit_early_exit(first, full, thresholds, patients, fitted_on)
        point["adaptive"] = msgspec.to_builtins(rule)


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
