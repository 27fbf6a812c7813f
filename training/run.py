"""A run directory: the model, the operating points fitted for it, and where both came from."""

import hashlib
import importlib
import json
import zipfile
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import keras
import msgspec
import numpy as np
import pandas as pd

from cxr_edge.views import SIX_VIEWS
from training.errors import DataError
from training.evaluate import evaluate
from training.films import load_films, targets
from training.fit import Part, fit
from training.network import to_float32
from training.nih import read_dataset
from training.predict import predict_views, scores_by_mode
from training.recipe import Recipe
from training.splits import split_official
from training.thresholds import operating_points

MODEL = "model.keras"
PROVENANCE = "training.json"
IDENTITY = "identity.json"
OPERATING_POINTS = "operating_points.json"

#: Every look at the test part is on record.
TEST_LOOKS = Path(__file__).parent / "results" / "test_looks.jsonl"


def fit_run(data: Path, out: Path, recipe: Recipe) -> Path:
    """Fit on the training part of a data set and save the whole model with its provenance.

    Parameters
    ----------
    data : Path
        See `training.nih.read_dataset`.
    out : Path
        The run directory; made if missing.
    recipe : Recipe

    Returns
    -------
    Path
        The saved ``.keras`` file.
    """
    out.mkdir(parents=True, exist_ok=True)
    parts = split_official(read_dataset(data), recipe.validation, recipe.seed)
    _claim(out, {"recipe": msgspec.to_builtins(recipe), "table_sha256": hash_of_table(pd.concat(parts.values()))})

    def load(size: int) -> tuple[Part, Part]:
        return load_part(parts["train"], size, "train"), load_part(parts["validation"], size, "validation")

    save_model(fit(recipe, load, out), out / MODEL)
    _write_json(out / PROVENANCE, provenance(parts, recipe))
    return out / MODEL


def _claim(out: Path, identity: dict[str, Any]) -> None:
    """Tie the directory to one recipe and one table: what it holds of an interrupted fit belongs to them."""
    claimed = out / IDENTITY
    if claimed.exists() and json.loads(claimed.read_text()) != identity:
        raise DataError(f"{out} holds a fit by another recipe or of other films; choose another --out")
    _write_json(claimed, identity)


def provenance(parts: dict[str, pd.DataFrame], recipe: Recipe) -> dict[str, Any]:
    """Tell where a model comes from, for its manifest and card."""
    backend = keras.config.backend()
    return {
        "data": f"{sum(map(len, parts.values()))} of the 112,120 films of NIH ChestX-ray14 (Wang et al. 2017)",
        "split": f"official test list; validation {recipe.validation:.0%} of the other patients at random",
        "films": {name: len(part) for name, part in parts.items()},
        "patients": {name: int(part["patient"].nunique()) for name, part in parts.items()},
        "table_sha256": hash_of_table(pd.concat(parts.values())),
        "recipe": msgspec.to_builtins(recipe),
        "precision": keras.config.dtype_policy().name,
        "versions": {
            "keras": keras.__version__,
            backend: importlib.import_module(backend).__version__,
            "numpy": np.__version__,
        },
    }


def fit_operating_points(run: Path, data: Path) -> Path:
    """Fit the operating points of a run's model on the validation films of its own split.

    Returns
    -------
    Path
        The written ``operating_points.json``.
    """
    films = _split_of(run, data)["validation"]
    network, part = _model_and_part(run, films, "validation")
    points = operating_points(
        part.targets,
        predict_views(network, part.films, SIX_VIEWS),
        f"{len(films)} validation films of {films['patient'].nunique()} patients, held out at random by patient",
    )
    return _write_json(run / OPERATING_POINTS, points)


def evaluate_run(run: Path, data: Path, part_name: str) -> Path:
    """Evaluate a run's model on one part of its split, with one view and with six.

    A look at the test part is appended to `TEST_LOOKS`.

    Returns
    -------
    Path
        The written ``evaluation-<part>.json``.
    """
    films = _split_of(run, data)[part_name]
    network, part = _model_and_part(run, films, part_name)
    per_view = predict_views(network, part.films, SIX_VIEWS)
    patients = films["patient"].to_numpy()
    figures = {mode: evaluate(part.targets, of_mode, patients) for mode, of_mode in scores_by_mode(per_view).items()}
    report = {"part": part_name, "model_sha256": _sha256(run / MODEL), "view_modes": figures}
    if part_name == "test":
        _record_look(report)
    return _write_json(run / f"evaluation-{part_name}.json", report)


def load_part(films: pd.DataFrame, size: int, name: str) -> Part:
    """Decode one part of a split."""
    return Part(load_films(films, size, name), targets(films))


def save_model(network: keras.Model, path: Path) -> None:
    """Save a model whole, compressed: rounded kernels shrink to about 60 % of their size."""
    plain = path.with_suffix(".uncompressed.keras")
    network.save(plain)
    with zipfile.ZipFile(plain) as source, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as packed:
        for name in source.namelist():
            packed.writestr(name, source.read(name))
    plain.unlink()


def hash_of_table(films: pd.DataFrame) -> str:
    """Give the sha256 of image names and labels, independent of folders and of row order."""
    rows = films.drop(columns="path").sort_values("image").to_csv(index=False)
    return hashlib.sha256(rows.encode()).hexdigest()


def _split_of(run: Path, data: Path) -> dict[str, pd.DataFrame]:
    told = json.loads((run / PROVENANCE).read_text())
    recipe = told["recipe"]
    parts = split_official(read_dataset(data), recipe["validation"], recipe["seed"])
    if (found := hash_of_table(pd.concat(parts.values()))) != told["table_sha256"]:
        raise DataError(
            f"{data}: expected the table the model was fitted on ({told['table_sha256'][:12]}…), "
            f"got {found[:12]}…; with other films the split would be another"
        )
    return parts


def _model_and_part(run: Path, films: pd.DataFrame, name: str) -> tuple[keras.Model, Part]:
    network = to_float32(keras.models.load_model(run / MODEL, compile=False))
    return network, load_part(films, network.input_shape[1], name)


def _record_look(report: dict[str, Any]) -> None:
    look = {
        "date": datetime.now(timezone.utc).date().isoformat(),
        "model_sha256": report["model_sha256"],
        "mean_auc": {mode: figures["mean_auc"] for mode, figures in report["view_modes"].items()},
    }
    TEST_LOOKS.parent.mkdir(exist_ok=True)
    with TEST_LOOKS.open("a") as file:
        file.write(json.dumps(look) + "\n")


def _write_json(path: Path, content: dict[str, Any]) -> Path:
    path.write_text(json.dumps(content, indent=2) + "\n")
    return path


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
