"""What validation images decide of a run's model: calibration and operating points, fitted to what the SDK answers."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import keras
import msgspec
import pandas as pd

from cxr_edge.model.bundle import Bundle
from cxr_edge.model.manifest import parse_manifest
from cxr_edge.model.model import Model
from export.convert import convert
from export.publish import Description, describe
from training.data.splits import of_collections
from training.decisions.decide import (
    LEAST_IMAGES,
    add_early_exits,
    decide_part,
    rare_labels,
    require_enough,
)
from training.errors import DataError
from training.evaluation.predictions import MODES, predict_images
from training.files import hash_of_file, write_json
from training.fitting.provenance import MODEL, labels_of, read_provenance
from training.fitting.run import split_of
from training.labels import LabelSet
from training.network.architecture import to_float32
from training.network.initial_weights import load_network
from training.recipe import Split

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
