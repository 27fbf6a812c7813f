"""What images decide of a bundle: calibration and operating points, fitted to what the SDK answers."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import keras
import msgspec
import pandas as pd

from cxr_edge.model.bundle import MODEL_CARD, Bundle, read_bundle
from cxr_edge.model.calibration import Curve
from cxr_edge.model.manifest import Manifest, parse_manifest
from cxr_edge.model.model import Model
from export.bundle_files import write_bundle
from export.card import EVALUATION, model_card
from export.convert import convert
from export.publish import Description, describe
from training.data.splits import of_collections
from training.decisions.calibration import mean_log_loss
from training.decisions.decide import (
    LEAST_IMAGES,
    add_early_exits,
    decide,
    decide_part,
    rare_labels,
    require_enough,
)
from training.decisions.thresholds import least_reported
from training.errors import DataError
from training.evaluation.predictions import MODES, predict_images
from training.files import hash_of_file, write_json
from training.fitting.provenance import MODEL, labels_of, read_provenance
from training.fitting.run import split_of
from training.labels import LabelSet
from training.network.architecture import to_float32
from training.network.initial_weights import load_network
from training.network.tta import VARIANTS
from training.recipe import Split
from training.versions import commit

DECISIONS: Final = "decisions.json"


def calibrate_run(run: Path, data: Path, collections: Sequence[str] = ()) -> Path:
    """Fit calibration and operating points of a run's model on the validation images of its own split.

    The network is converted first: the scores are those that the exported bundle will emit.

    Parameters
    ----------
    run, data : Path
    collections : sequence of str
        Fit on these collections alone, such as one in which labels are as frequent as in the clinic;
        all of them, if left out. A label with fewer than `LEAST_IMAGES` images of either class in
        them is decided on all validation images: a threshold from one image would be chance.

    Returns
    -------
    Path
        The written ``decisions.json``: the model's hash, the manifest's ``calibration`` and
        ``operating_points``, the default TTA mode, and the figures behind these choices.

    Raises
    ------
    DataError
        The run is not finished, or there are too few validation images, of the collections or of all.
    """
    images, labels, training = split_of(run, data)["validation"], labels_of(run), read_provenance(run)
    chosen = of_collections(images, collections)
    rare = rare_labels(chosen, labels) if collections else ()
    if set(rare) >= set(labels.findings):
        raise DataError(
            f"expected at least {LEAST_IMAGES} images with and {LEAST_IMAGES} without one of the findings in "
            f"{', '.join(collections)}; choose larger collections, or all"
        )
    images = images if rare else chosen
    require_enough(images, labels)
    network = to_float32(load_network(str(run / MODEL), len(labels)))
    found = predict_images(Model(_undecided(run, network, labels, training), "cpu"), images)
    for failure in found.unreadable:
        raise DataError(f"{failure['image']} cannot be read: {failure['message']}")
    split = msgspec.convert(training["recipe"]["split"], Split).describe()
    fitted_on = _part_described(chosen, collections, split)
    if rare:
        fitted_on += (
            f"; {', '.join(rare)}, on fewer than {LEAST_IMAGES} of them, by {_part_described(images, (), split)}"
        )
    among = images["image"].isin(chosen["image"]).to_numpy()
    decided = decide_part(images, labels, found.per_variant, among, fitted_on)
    add_early_exits(decided, labels, found.per_variant[among], chosen)
    return write_json(run / DECISIONS, {"model_sha256": hash_of_file(run / MODEL), **decided})


def _part_described(images: pd.DataFrame, collections: Sequence[str], split: str) -> str:
    chosen = f" of collection {', '.join(collections)}" if collections else ""
    return f"{len(images)} validation images{chosen} of {images['patient'].nunique()} patients ({split})"


def _undecided(run: Path, network: keras.Model, labels: LabelSet, training: dict[str, Any]) -> Bundle:
    """Return the bundle of a run's network, in memory, before anything is decided."""
    graphs = convert(network, method=None)
    half = {"thresholds": dict.fromkeys(labels.findings, 0.5), "fitted_on": "nothing"}
    decisions = {
        "operating_points": {"half": dict.fromkeys(MODES, half)},
        "calibration": {"method": "identity"},
        "default_tta_mode": "tta",
    }
    files = {"model.onnx": graphs.model}
    listed = {name: {"sha256": "0" * 64, "bytes": len(data)} for name, data in files.items()}
    manifest = describe(network, Description("undecided", "0", decisions, training, notes="", maps=None), gate={})
    return Bundle(parse_manifest(json.dumps({**manifest, "files": listed}).encode()), "0" * 64, files, run)


@dataclass(frozen=True)
class Recalibrated:
    """What `recalibrate` did.

    Attributes
    ----------
    bundle : Path
    fitted, kept : tuple of str
        Labels with new decisions, and those with too few images, whose decisions are as before.
    left_out : dict
        Image → why: it could not be read, or not all of its labels are known.
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

    The network is unchanged. A label with fewer than `LEAST_IMAGES` images of either class keeps its
    curve and its thresholds; operating points that it does not have are then left out.

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
    marks, kept = images[list(labels.names)], rare_labels(images, labels)
    fitted = tuple(name for name in labels.names if name not in kept)
    if not set(fitted) & set(labels.findings):
        raise DataError(
            f"expected at least {LEAST_IMAGES} images with and {LEAST_IMAGES} without one of the findings, got "
            f"{', '.join(f'{name} {int((marks[name] == 1).sum())}' for name in labels.findings)}; label more images"
        )
    whole = marks[list(fitted)].notna().all(axis=1)
    left_out = dict.fromkeys(images["image"][~whole], f"not all of its labels are known: {', '.join(fitted)}")
    known = images[whole].reset_index(drop=True)
    chosen = LabelSet.of([label for label in labels.records if label.name in fitted])
    found = predict_images(Model(bundle, "cpu"), known)
    table, per_variant = found.table, found.per_variant
    require_enough(table, chosen)
    left_out |= {failure["image"]: failure["message"] for failure in found.unreadable}
    fitted_on = _described(table, source, kept)
    columns = [labels.names.index(name) for name in fitted]
    decided = decide(table, chosen, per_variant[:, :, columns], fitted_on)
    log_loss = {
        "before": mean_log_loss(table[list(fitted)].to_numpy(), found.calibrated["tta"][:, columns]),
        "after": min(decided["figures"]["log_loss"].values()),
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


def _described(table: pd.DataFrame, source: str, kept: Sequence[str]) -> str:
    """Describe the images of a user's table, in which the patient may be unknown, and what they do not hold for."""
    patients = "" if (table["patient"] == table["image"]).all() else f" of {table['patient'].nunique()} patients"
    exceptions = f"; as before: {', '.join(kept)}" if kept else ""
    return f"{len(table)} images{patients}: {source}{exceptions}"


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
