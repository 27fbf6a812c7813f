"""One evaluation: all figures of a bundle on one part of a data set."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pandas as pd

from cxr_edge.bundle import Bundle
from cxr_edge.labels import LABELS
from cxr_edge.manifest import Manifest
from training.errors import DataError
from training.evaluation.comparison import compare, read_predictions
from training.evaluation.early_stops import early_stops
from training.evaluation.figures import at_thresholds, paired, ranking
from training.evaluation.localisation import localise, read_boxes
from training.evaluation.plots import write_plots
from training.evaluation.predictions import MODES, Predictions, predict_films
from training.evaluation.reliability import reliability
from training.evaluation.report import markdown
from training.evaluation.resampling import Bootstrap
from training.evaluation.stems import stems
from training.evaluation.subgroups import by_subgroup
from training.nih import hash_of_table
from training.splits import Split, split_films
from training.versions import commit


@dataclass(frozen=True)
class Extras:
    """What an evaluation takes beside films and labels.

    Attributes
    ----------
    boxes : Path or None
        Radiologists' boxes; see `training.evaluation.localisation.read_boxes`.
    compare_with : Path or None
        Another model's predictions; see `training.evaluation.comparison.compare`.
    """

    boxes: Path | None = None
    compare_with: Path | None = None


def part_of_split(bundle: Bundle, films: pd.DataFrame, part: str) -> tuple[pd.DataFrame, str]:
    """Find the films of a part of the split a bundle was trained by.

    Returns
    -------
    DataFrame
    str
        How the part was held out.

    Raises
    ------
    DataError
        The bundle does not tell its split, or these are not its films: a film of this part could
        be one it was trained on.
    """
    told = bundle.manifest.training
    try:
        split = msgspec.convert(told["recipe"]["split"], Split)
        expected = told["part_sha256"][part]
    except (KeyError, TypeError, msgspec.ValidationError) as error:
        raise DataError(
            f"{bundle.identity} does not tell how its films were divided; it can be evaluated as `--dataset csv` "
            "on films that you know it has not seen"
        ) from error
    found = split_films(films, split)[part]
    if found.empty:
        raise DataError(f"the split of {bundle.identity} has no {part} films: {split.describe()}")
    if hash_of_table(found) != expected:
        raise DataError(
            f"the {part} films are not those of {bundle.identity}: expected the hash "
            f"{expected[:12]}…, got {len(found)} films with {hash_of_table(found)[:12]}…; it could have seen some"
        )
    return found, split.describe()


def evaluate(
    bundle: Bundle, films: pd.DataFrame, part: str, held_out: str, extras: Extras, bootstrap: Bootstrap
) -> dict[str, Any]:
    """Measure a bundle.

    Parameters
    ----------
    bundle : Bundle
    films : DataFrame
        With ``path`` (or ``cache`` and ``row``), `training.nih.COLUMNS`, and the labels as 0, 1 or NaN.
    part, held_out : str
        What the films are, and how they were kept from the fit.
    extras : Extras
    bootstrap : Bootstrap

    Returns
    -------
    dict
        The content of ``evaluation.json``.
    """
    drawn = None if extras.boxes is None else read_boxes(extras.boxes)
    others = None if extras.compare_with is None else read_predictions(extras.compare_with)
    if extras.boxes or extras.compare_with:
        stems(films["image"], "the data set")
    predictions = predict_films(bundle, films)
    table, manifest = predictions.table, bundle.manifest
    truth = table[list(LABELS)].to_numpy(np.float64)
    patients = table["patient"].to_numpy()
    default = manifest.default_view_mode
    boxes = None if drawn is None else localise(bundle, table, drawn, bootstrap)
    return {
        "bundle": bundle.identity,
        "bundle_sha256": bundle.sha256,
        "model_sha256": manifest.files[manifest.variants[manifest.default_variant].model].sha256,
        "decisions_sha256": hash_of_decisions(manifest),
        "commit": commit(),
        "part": part,
        "held_out": held_out,
        "films": len(table),
        "patients": int(table["patient"].nunique()),
        "unreadable": predictions.unreadable,
        "resamples": bootstrap.resamples,
        "default_view_mode": default,
        "default_operating_point": manifest.default_operating_point,
        "view_modes": {mode: ranking(truth, predictions.raw[mode], table, bootstrap) for mode in MODES},
        "tta_gain": paired(truth, predictions.raw["single"], predictions.raw["tta"], patients, bootstrap),
        "operating_points": {
            name: at_thresholds(
                truth, predictions.calibrated[default], manifest.thresholds(name, default), table, bootstrap
            )
            for name in manifest.operating_points
        },
        "adaptive": early_stops(bundle, table, predictions.calibrated["tta"], bootstrap),
        "calibration": {
            "fitted_on": manifest.calibration.fitted_on or "nothing: probabilities are not calibrated",
            "before": reliability(truth, predictions.raw[default], patients, bootstrap),
            "after": reliability(truth, predictions.calibrated[default], patients, bootstrap),
        },
        "subgroups": by_subgroup(truth, predictions.raw[default], table, bootstrap),
        "localisation": boxes,
        "comparison": None if others is None else compare(truth, predictions.raw[default], table, others, bootstrap),
        "curves": _curves(truth, predictions, default),
    }


def hash_of_decisions(manifest: Manifest) -> str:
    """Give the sha256 of what makes a bundle of a network: input, views, calibration, thresholds."""
    decisions = [
        manifest.input,
        manifest.views,
        manifest.default_view_mode,
        manifest.calibration,
        manifest.operating_points,
    ]
    return hashlib.sha256(msgspec.json.encode(decisions, order="sorted")).hexdigest()


def look_of(report: dict[str, Any]) -> dict[str, Any]:
    """Describe a look at the test part: whose, and the mean ROC-AUC that was seen."""
    told = ("bundle", "bundle_sha256", "model_sha256", "commit", "films")
    mean_auc = {mode: figures["mean"]["auc"] for mode, figures in report["view_modes"].items()}
    return {**{key: report[key] for key in told}, "mean_auc": mean_auc}


def write_evaluation(report: dict[str, Any], out: Path) -> list[Path]:
    """Write ``evaluation.json``, ``evaluation.md`` and the plots.

    Returns
    -------
    list of Path
    """
    out.mkdir(parents=True, exist_ok=True)
    figures = {key: value for key, value in report.items() if key != "curves"}
    (out / "evaluation.json").write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    (out / "evaluation.md").write_text(markdown(figures), encoding="utf-8")
    return [out / "evaluation.json", out / "evaluation.md", *write_plots(report, out)]


def _curves(truth: Any, predictions: Predictions, mode: Any) -> dict[str, Any]:
    """Keep what the plots draw."""
    return {"truth": truth, "raw": predictions.raw[mode], "calibrated": predictions.calibrated[mode]}
