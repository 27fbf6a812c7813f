"""Where a model comes from: its images, its recipe, its code, and the networks it began from or learned from."""

import json
import warnings
from pathlib import Path
from typing import Any

import keras
import msgspec
import pandas as pd

from cxr_edge.model.labels import Label
from training.data.nih import describe_images, hash_of_table
from training.data.splits import Parts
from training.errors import DataError
from training.files import hash_of_file
from training.labels import LabelSet
from training.network.initial_weights import NAMED, require_network_file
from training.recipe import Recipe
from training.versions import commit, versions

MODEL = "model.keras"
PROVENANCE = "training.json"


def provenance(parts: Parts, recipe: Recipe, labels: LabelSet) -> dict[str, Any]:
    """Describe where a model comes from, for its manifest and card.

    Raises
    ------
    DataError
        The fit begins from, or learns from, a network that another split was fitted on.
    """
    hashes = {name: hash_of_table(part, labels.names) for name, part in parts.items()}
    return {
        "data": describe_images(pd.concat(parts.values())),
        "split": recipe.split.describe(),
        "labels": msgspec.to_builtins(labels.records),
        "images": {name: len(part) for name, part in parts.items()},
        "patients": {name: int(part["patient"].nunique()) for name, part in parts.items()},
        "table_sha256": hash_of_table(pd.concat(parts.values()), labels.names),
        "part_sha256": hashes,
        "recipe": _without_folders(msgspec.to_builtins(recipe)),
        **_ancestors(recipe, hashes),
        "commit": commit(),
        "versions": versions("cxr_edge", "keras", keras.config.backend(), "numpy"),
    }


def _without_folders(recipe: dict[str, Any]) -> dict[str, Any]:
    """Name files of weights and labels without this machine's folders; their content is recorded beside."""
    named = {**recipe, "initial": Path(recipe["initial"]).name, "labels": Path(recipe["labels"]).name}
    if "distillation" in recipe:
        names = [Path(teacher).name for teacher in recipe["distillation"]["teachers"]]
        named["distillation"] = {**recipe["distillation"], "teachers": names}
    return named


def _ancestors(recipe: Recipe, parts: dict[str, str]) -> dict[str, Any]:
    """Describe the fits that this one begins from or learns from."""
    ancestors: dict[str, Any] = {}
    if recipe.initial not in NAMED:
        require_network_file(recipe.initial, f"initial (or one of {', '.join(NAMED)})")
        ancestors["initial"] = _ancestor(Path(recipe.initial), parts)
    if recipe.distillation.teachers:
        for teacher in recipe.distillation.teachers:
            require_network_file(teacher, "distillation.teachers")
        ancestors["teachers"] = [_ancestor(Path(teacher), parts) for teacher in recipe.distillation.teachers]
    return ancestors


def _ancestor(file: Path, parts: dict[str, str]) -> dict[str, Any]:
    """Return a model's hash and the provenance of its fit, which must have been on the same split."""
    sha256 = hash_of_file(file)
    if not file.with_name(PROVENANCE).is_file():
        warnings.warn(
            f"{file} does not record its training images; none of them may be a validation or test image here",
            stacklevel=2,
        )
        return {"sha256": sha256, "training": None}
    recorded: dict[str, Any] = json.loads(file.with_name(PROVENANCE).read_text())
    if recorded.get("part_sha256") != parts:
        raise DataError(f"{file} was fitted on another split: it may have seen images that are validation or test here")
    return {"sha256": sha256, "training": {**recorded, "recipe": _without_folders(recorded["recipe"])}}


def read_provenance(run: Path) -> dict[str, Any]:
    """Read where a finished run's model comes from.

    Raises
    ------
    DataError
        It is not a finished run.
    """
    if not (run / MODEL).is_file() or not (run / PROVENANCE).is_file():
        raise DataError(f"{run} holds no finished fit: expected {MODEL} and {PROVENANCE}")
    recorded: dict[str, Any] = json.loads((run / PROVENANCE).read_text())
    return recorded


def resumed_provenance(out: Path, current: dict[str, Any]) -> dict[str, Any]:
    """Return what was recorded when a fit began, with the commit and versions that resume it, where they changed."""
    if not (out / PROVENANCE).exists():
        return current
    first: dict[str, Any] = json.loads((out / PROVENANCE).read_text())
    now = {key: current[key] for key in ("commit", "versions")}
    before = [{key: first[key] for key in now}, *first.get("resumed_with", [])]
    return first if now in before else {**first, "resumed_with": [*first.get("resumed_with", []), now]}


def labels_of(run: Path) -> LabelSet:
    """Return the labels of a finished run's model.

    Raises
    ------
    DataError
        It is not finished, or was fitted by a version that did not record them.
    """
    recorded = read_provenance(run)
    if "labels" not in recorded:
        raise DataError(
            f"{run / PROVENANCE} does not record the model's labels: an earlier version wrote it; fit again"
        )
    return LabelSet.of(msgspec.convert(recorded["labels"], tuple[Label, ...]))
