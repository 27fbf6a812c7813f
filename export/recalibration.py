"""A bundle's calibration and operating points, fitted anew on other images: ``python -m training recalibrate``."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import pandas as pd

from cxr_edge.model.bundle import MODEL_CARD, Bundle, read_bundle
from cxr_edge.model.calibration import Curve
from cxr_edge.model.manifest import Manifest
from cxr_edge.model.model import Model
from export.bundle_files import write_bundle
from export.card import EVALUATION, model_card
from training.decisions.calibration import FOLDS, mean_log_loss
from training.decisions.decide import LEAST_IMAGES, add_early_exits, decide_known, known_groups
from training.decisions.thresholds import least_reported
from training.errors import DataError
from training.evaluation.predictions import MODES, predict_images
from training.labels import LabelSet
from training.network.tta import VARIANTS
from training.versions import commit

#: Images, (N,) bool, and the labels that are decided on them.
Group = tuple[npt.NDArray[np.bool_], LabelSet]


@dataclass(frozen=True)
class Recalibrated:
    """What `recalibrate` did.

    Attributes
    ----------
    bundle : Path
    fitted, kept : tuple of str
        Labels with new decisions, and those with too few images, whose decisions are as before.
    left_out : dict
        Image → why: it could not be read, or none of its labels is known.
    lost : tuple of str
        Operating points that the bundle before lacks, so that labels that are kept have no threshold for them.
    log_loss : dict
        Mean over images and fitted labels: ``before``, and ``after`` on patients held out in turn.
    """

    bundle: Path
    fitted: tuple[str, ...]
    kept: tuple[str, ...]
    left_out: dict[str, str]
    lost: tuple[str, ...]
    log_loss: dict[str, float]


def recalibrate(root: Path | None, images: pd.DataFrame, source: str, out: Path, version: str | None) -> Recalibrated:
    """Fit a bundle's calibration and operating points anew on other images, and write another bundle.

    The network is unchanged. A label is decided on the images on which it is known. With fewer than `LEAST_IMAGES`
    images of either class among them it keeps its curve and its thresholds; operating points that it does not have are
    then left out.

    Parameters
    ----------
    root : Path or None
        The bundle; None for the shipped one.
    images : DataFrame
        As `training.data.external.read_external` returns it.
    source : str
        What the images are, for the manifest.
    out : Path
        Replaced only once the new bundle is complete.
    version : str or None
        Of the new bundle; None appends ``-recalibrated``.

    Raises
    ------
    DataError
        No label has images enough, or `out` is the bundle itself.
    """
    bundle = read_bundle(root)
    if out.resolve() == bundle.root.resolve():
        raise DataError(f"{out} is the bundle that is fitted anew; choose another --out")
    labels = LabelSet.of(bundle.manifest.labels)
    named = images[list(labels.names)].notna().any(axis=1)
    left_out = dict.fromkeys(images["image"][~named], "none of its labels is known")
    labelled = images[named].reset_index(drop=True)
    _require_groups(labelled, labels)  # before minutes of inference, and again after: images may be unreadable
    found = predict_images(Model(bundle, "cpu"), labelled)
    left_out |= {failure["image"]: failure["message"] for failure in found.unreadable}
    table, per_variant = found.table, found.per_variant
    groups = _require_groups(table, labels)
    decided_names = {name for _, of_group in groups for name in of_group.names}
    fitted = tuple(name for name in labels.names if name in decided_names)
    kept = tuple(name for name in labels.names if name not in decided_names)
    fitted_on = _described(table, groups, source, kept)
    decided = decide_known(groups, table, labels, per_variant, fitted_on)
    log_loss = {
        "before": _log_loss(groups, table, labels, found.calibrated["tta"]),
        "after": decided["figures"]["least_log_loss"],
    }
    lost = _keep(decided, bundle.manifest, fitted, kept)
    if bundle.manifest.tta.variants == VARIANTS:
        add_early_exits(decided, labels, per_variant, table)
    described = {
        "bundle": bundle.identity,
        "bundle_sha256": bundle.sha256,
        "fitted_on": fitted_on,
        "kept": list(kept),
        "log_loss": log_loss,
        "commit": commit(),
    }
    _write(bundle, decided, described, version or f"{bundle.manifest.version}-recalibrated", out)
    return Recalibrated(out, fitted, kept, left_out, lost, log_loss)


def _require_groups(images: pd.DataFrame, labels: LabelSet) -> list[Group]:
    """Return `known_groups`; raise `DataError` where no finding has images enough."""
    if groups := known_groups(images, labels):
        return groups
    marks, patients = images[list(labels.names)], images["patient"].nunique()
    raise DataError(
        f"expected at least {LEAST_IMAGES} images with and {LEAST_IMAGES} without one of the findings, of at least "
        f"{FOLDS} patients; got images of {patients} patients, with "
        f"{', '.join(f'{name} {int((marks[name] == 1).sum())}' for name in labels.findings)}; label more images"
    )


def _log_loss(
    groups: Sequence[Group],
    table: pd.DataFrame,
    labels: LabelSet,
    probabilities: npt.NDArray[np.float64],
) -> float:
    """Return the mean log loss over the images and labels of groups."""
    truth, scores = [], []
    for known, of_group in groups:
        columns = [labels.names.index(name) for name in of_group.names]
        truth.append(table[list(of_group.names)].to_numpy()[known].ravel())
        scores.append(probabilities[known][:, columns].ravel())
    return mean_log_loss(np.concatenate(truth), np.concatenate(scores))


def _described(table: pd.DataFrame, groups: Sequence[Group], source: str, kept: Sequence[str]) -> str:
    """Describe the images of a user's table, in which the patient may be unknown, and what they do not hold for."""
    patients = "" if (table["patient"] == table["image"]).all() else f" of {table['patient'].nunique()} patients"
    fewer = "".join(
        f"; {', '.join(of_group.names)} on {known.sum()} of them" for known, of_group in groups if not known.all()
    )
    exceptions = f"; as before: {', '.join(kept)}" if kept else ""
    return f"{len(table)} images{patients}: {source}{fewer}{exceptions}"


def _keep(decided: dict[str, Any], before: Manifest, fitted: Sequence[str], kept: Sequence[str]) -> tuple[str, ...]:
    """Add the curves and thresholds of the labels that are not fitted anew; return the points that cannot be kept."""
    calibration, points = decided["calibration"], decided["operating_points"]
    lost = tuple(name for name in points if name not in before.operating_points and set(kept) & {*before.finding_names})
    for name in lost:
        del points[name]
    if not points:
        raise DataError(
            f"too few images for {', '.join(kept)}, and the bundle has none of the operating points that are fitted, "
            f"to keep their thresholds at; it has {', '.join(before.operating_points)}"
        )
    if calibration["method"] == "identity":
        calibration["method"] = "platt"
        for mode in MODES:
            calibration[mode] = {name: msgspec.to_builtins(Curve(1.0, 0.0)) for name in fitted}
    for mode in MODES:
        old = before.curves(mode) or dict.fromkeys(kept, Curve(1.0, 0.0))
        calibration[mode] |= {name: msgspec.to_builtins(old[name]) for name in kept}
        for name, point in points.items() if kept else ():
            thresholds = before.thresholds(name, mode)
            point[mode]["thresholds"] |= {label: thresholds[label] for label in kept if label in thresholds}
    return lost


def _write(bundle: Bundle, decided: dict[str, Any], described: dict[str, Any], version: str, out: Path) -> None:
    """Write the bundle with its new decisions, without the figures that rest on those before."""
    manifest = {
        **bundle.manifest.source,
        "version": version,
        "calibration": decided["calibration"],
        "operating_points": decided["operating_points"],
        "default_operating_point": next(iter(decided["operating_points"])),
        "min_probability": least_reported(decided["operating_points"], LabelSet.of(bundle.manifest.labels)),
        "training": {**bundle.manifest.training, "recalibrated": described},
    }
    manifest["tta"] = {**manifest["tta"], "default_mode": decided["default_tta_mode"]}
    files = {name: data for name, data in bundle.files.items() if name != EVALUATION}
    write_bundle(manifest, {**files, MODEL_CARD: model_card(manifest).encode()}, out)
