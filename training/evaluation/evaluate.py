"""One evaluation: all figures of a bundle on one part of a data set."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pandas as pd

from cxr_edge.model.bundle import Bundle
from cxr_edge.model.manifest import Manifest
from cxr_edge.model.model import Model
from training.data.nih import hash_of_table
from training.data.splits import split_images
from training.errors import DataError
from training.evaluation.comparison import compare, read_predictions
from training.evaluation.early_stops import early_stops
from training.evaluation.figures import at_thresholds, paired, ranking
from training.evaluation.localisation import has_boxes, localise, read_boxes
from training.evaluation.plots import write_plots
from training.evaluation.predictions import MODES, predict_images
from training.evaluation.reliability import reliability
from training.evaluation.report import markdown
from training.evaluation.resampling import Bootstrap
from training.evaluation.sharpness import ranked_reduced
from training.evaluation.stems import stems
from training.evaluation.subgroups import by_subgroup
from training.labels import LabelSet
from training.recipe import Split
from training.versions import commit


@dataclass(frozen=True)
class Extras:
    """Inputs of an evaluation beside images and labels.

    Attributes
    ----------
    boxes : Path or None
        Radiologists' boxes; see `training.evaluation.localisation.read_boxes`.
    compare_with : Path or None
        Another model's predictions; see `training.evaluation.comparison.compare`.
    reduced_to : int or None
        Side in pixels that each image is reduced to for a second pass; see `training.evaluation.sharpness`.
    """

    boxes: Path | None = None
    compare_with: Path | None = None
    reduced_to: int | None = None


def part_of_split(bundle: Bundle, images: pd.DataFrame, part: str) -> tuple[pd.DataFrame, str]:
    """Find the images of a part of the split a bundle was trained by.

    Returns
    -------
    DataFrame
    str
        How the part was held out.

    Raises
    ------
    DataError
        The bundle does not record its split, or these are not its images: an image of this part could
        be one it was trained on.
    """
    recorded = bundle.manifest.training
    try:
        split = msgspec.convert(recorded["recipe"]["split"], Split)
        expected = recorded["part_sha256"][part]
    except (KeyError, TypeError, msgspec.ValidationError) as error:
        raise DataError(
            f"{bundle.identity} does not record how its images were divided; it can be evaluated as `--dataset csv` "
            "on images that you know it has not seen"
        ) from error
    found = split_images(images, split)[part]
    if found.empty:
        raise DataError(f"the split of {bundle.identity} has no {part} images: {split.describe()}")
    if (hashed := hash_of_table(found, bundle.manifest.label_names)) != expected:
        raise DataError(
            f"the {part} images are not those of {bundle.identity}: expected the hash "
            f"{expected[:12]}…, got {len(found)} images with {hashed[:12]}…; it could have seen some in training"
        )
    return found, split.describe()


def evaluate(
    bundle: Bundle, images: pd.DataFrame, part: str, held_out: str, extras: Extras, bootstrap: Bootstrap
) -> dict[str, Any]:
    """Measure a bundle.

    Parameters
    ----------
    bundle : Bundle
    images : DataFrame
        With ``path`` (or ``cache`` and ``row``), `training.data.nih.COLUMNS`, and the labels as 0, 1 or NaN.
    part, held_out : str
        What the images are, and how they were kept from the fit.
    extras : Extras
    bootstrap : Bootstrap

    Returns
    -------
    dict
        The content of ``evaluation.json``.
    """
    model, manifest, labels = Model(bundle, "cpu"), bundle.manifest, LabelSet.of(bundle.manifest.labels)
    findings, columns = labels.findings, labels.finding_columns
    drawn = None if extras.boxes is None else read_boxes(extras.boxes, findings)
    others = None if extras.compare_with is None else read_predictions(extras.compare_with, findings)
    if extras.boxes or extras.compare_with:
        stems(images["image"], "the data set")
    mapped = None if drawn is None or manifest.maps is None else has_boxes(images, drawn)
    predictions = predict_images(model, images, mapped)
    table = predictions.table
    patients, default = table["patient"].to_numpy(), manifest.tta.default_mode
    truth = table[list(findings)].to_numpy(np.float64)
    raw = {mode: scores[:, columns] for mode, scores in predictions.raw.items()}
    calibrated = predictions.calibrated[default][:, columns]
    return {
        "bundle": bundle.identity,
        "bundle_sha256": bundle.sha256,
        "model_sha256": hash_of_networks(manifest),
        "decisions_sha256": hash_of_decisions(manifest),
        "commit": commit(),
        "part": part,
        "held_out": held_out,
        "collections": sorted(table["collection"].unique()),
        "images": len(table),
        "patients": int(table["patient"].nunique()),
        "unreadable": predictions.unreadable,
        "resamples": bootstrap.resamples,
        "default_tta_mode": default,
        "default_operating_point": manifest.default_operating_point,
        "tta_modes": {mode: ranking(truth, raw[mode], table, findings, bootstrap) for mode in MODES},
        "tta_gain": paired(truth, (raw["single"], raw["tta"]), table, findings, bootstrap)
        if len(manifest.tta.variants) > 1
        else None,
        "operating_points": {
            name: at_thresholds(truth, calibrated, _in_order(manifest, name, findings), table, bootstrap)
            for name in manifest.operating_points
        },
        "adaptive": early_stops(model, predictions.evaluations, predictions.calibrated["tta"], patients, bootstrap),
        "calibration": {
            "fitted_on": manifest.calibration.fitted_on or "nothing: probabilities are not calibrated",
            "before": reliability(truth, raw[default], patients, findings, bootstrap),
            "after": reliability(truth, calibrated, patients, findings, bootstrap),
        },
        "subgroups": by_subgroup(truth, raw[default], table, findings, bootstrap),
        "sharpness": extras.reduced_to and ranked_reduced(model, predictions, extras.reduced_to, bootstrap),
        "localisation": None if drawn is None else localise(model, predictions, drawn, bootstrap),
        "comparison": None if others is None else compare(truth, raw[default], table, others, bootstrap),
        "findings": list(findings),
        "curves": {"images": table["image"].to_numpy(), "truth": truth, "raw": raw[default], "calibrated": calibrated},
    }


def _in_order(manifest: Manifest, operating_point: str, findings: Sequence[str]) -> dict[str, float]:
    """Return the thresholds of the default TTA mode in the order of the findings."""
    thresholds = manifest.thresholds(operating_point, manifest.tta.default_mode)
    return {finding: thresholds[finding] for finding in findings}


def hash_of_networks(manifest: Manifest) -> str:
    """Return the sha256 of the default variant's graph; of several networks, that of their hashes one after another."""
    graphs = [network.files(manifest.default_variant)[0] for network in manifest.networks]
    first, *others = [manifest.files[graph].sha256 for graph in graphs]
    return hashlib.sha256("".join([first, *others]).encode()).hexdigest() if others else first


def hash_of_decisions(manifest: Manifest) -> str:
    """Return the sha256 of what makes a bundle of a network: input, TTA, calibration, thresholds."""
    decisions = [manifest.input, manifest.tta, manifest.calibration, manifest.operating_points]
    return hashlib.sha256(msgspec.json.encode(decisions, order="sorted")).hexdigest()


def look_of(report: dict[str, Any]) -> dict[str, Any]:
    """Describe a test look: the bundle, and the mean ROC-AUC that was seen."""
    recorded = ("bundle", "bundle_sha256", "model_sha256", "commit", "images")
    mean_auc = {mode: figures["mean"]["auc"] for mode, figures in report["tta_modes"].items()}
    return {**{key: report[key] for key in recorded}, "mean_auc": mean_auc}


def write_evaluation(report: dict[str, Any], out: Path) -> list[Path]:
    """Write ``evaluation.json``, ``evaluation.md``, ``predictions.csv`` and the plots.

    Returns
    -------
    list of Path
    """
    out.mkdir(parents=True, exist_ok=True)
    figures = {key: value for key, value in report.items() if key != "curves"}
    (out / "evaluation.json").write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    (out / "evaluation.md").write_text(markdown(figures), encoding="utf-8")
    predictions = pd.DataFrame(report["curves"]["calibrated"], columns=list(report["findings"]))
    predictions.insert(0, "image", report["curves"]["images"])
    predictions.to_csv(out / "predictions.csv", index=False, float_format="%.6g")
    names = ("evaluation.json", "evaluation.md", "predictions.csv")
    return [*(out / name for name in names), *write_plots(report, out)]
