"""A run directory: the model, what was fitted for it, and where both came from."""

import hashlib
import json
import zipfile
from pathlib import Path
from typing import Any

import keras
import msgspec
import pandas as pd

from cxr_edge.views import SIX_VIEWS
from training.checkpoint import STATE
from training.decisions import decide
from training.errors import DataError
from training.files import locked, write_json
from training.films import Part, load_part, require_sizes
from training.fit import fit
from training.initial_weights import NAMED, require_network_file
from training.network import to_float32
from training.nih import hash_of_table, read_dataset
from training.predict import predict_views
from training.recipe import Recipe
from training.splits import Parts, Split, split_films
from training.versions import commit, versions

MODEL = "model.keras"
PROVENANCE = "training.json"
IDENTITY = "identity.json"
DECISIONS = "decisions.json"


def fit_run(
    data: Path,
    out: Path,
    recipe: Recipe,
    *,
    resume: bool = False,
    deterministic: bool = False,
    tensorboard: bool = False,
) -> Path:
    """Fit on the training part of a data set and save the whole model with its provenance.

    Parameters
    ----------
    data : Path
        See `training.nih.read_dataset`.
    out : Path
        The run directory; made if missing.
    recipe : Recipe
    resume : bool
        Go on with what `out` holds of an interrupted fit by the same recipe on the same films.
    deterministic, tensorboard : bool
        See `training.fit.fit`.

    Returns
    -------
    Path
        The saved ``.keras`` file.

    Raises
    ------
    DataError
        `out` holds another fit; or one by the same recipe, and `resume` is not asked for.
    """
    parts = split_films(read_dataset(data), recipe.split)
    with locked(out):
        return _fit_locked(parts, out, recipe, resume=resume, deterministic=deterministic, tensorboard=tensorboard)


def _fit_locked(
    parts: Parts, out: Path, recipe: Recipe, *, resume: bool, deterministic: bool, tensorboard: bool
) -> Path:
    told = provenance(parts, recipe)
    claimed = ("recipe", "table_sha256", "initial", "teachers")
    _claim(out, {key: told[key] for key in claimed if key in told}, resume=resume)
    if (out / MODEL).exists():
        return out / MODEL
    require_sizes(parts["train"], (stage.size for stage in recipe.stages))
    _tell(out / PROVENANCE, told)

    def load(size: int) -> tuple[Part, Part]:
        return load_part(parts["train"], size, "train"), load_part(parts["validation"], size, "validation")

    save_model(fit(recipe, load, out, deterministic=deterministic, tensorboard=tensorboard), out / MODEL)
    _remove_state(out)
    return out / MODEL


def _claim(out: Path, identity: dict[str, Any], *, resume: bool) -> None:
    """Tie the directory to one recipe and one table: what it holds of an interrupted fit belongs to them."""
    claimed = out / IDENTITY
    if claimed.exists():
        if json.loads(claimed.read_text()) != json.loads(json.dumps(identity)):
            raise DataError(f"{out} holds a fit by another recipe or of other films; choose another --out")
        if not resume:
            raise DataError(f"{out} holds this fit already; go on with it by --resume, or choose another --out")
    elif (out / MODEL).exists():
        raise DataError(f"{out} holds a model of another origin; choose another --out")
    else:
        write_json(claimed, identity)


def _tell(file: Path, told: dict[str, Any]) -> None:
    """Write where a model comes from; of a fit that goes on, also what it goes on with, where that has changed."""
    if file.exists():
        first = json.loads(file.read_text())
        now = {key: told[key] for key in ("commit", "versions")}
        if now in ({key: first[key] for key in now}, *first.get("resumed_with", [])):
            return
        told = {**first, "resumed_with": [*first.get("resumed_with", []), now]}
    write_json(file, told)


def _remove_state(out: Path) -> None:
    """A finished fit needs no way back."""
    for left in [out / STATE, *out.glob("stage-*.keras")]:
        left.unlink(missing_ok=True)


def provenance(parts: Parts, recipe: Recipe) -> dict[str, Any]:
    """Tell where a model comes from, for its manifest and card."""
    return {
        "data": f"{sum(map(len, parts.values())):,} of the 112,120 films of NIH ChestX-ray14 (Wang et al. 2017)",
        "split": recipe.split.describe(),
        "films": {name: len(part) for name, part in parts.items()},
        "patients": {name: int(part["patient"].nunique()) for name, part in parts.items()},
        "table_sha256": hash_of_table(pd.concat(parts.values())),
        "part_sha256": {name: hash_of_table(part) for name, part in parts.items()},
        "recipe": _without_folders(recipe),
        **_ancestors(recipe),
        "commit": commit(),
        "versions": versions("cxr_edge", "keras", keras.config.backend(), "numpy"),
    }


def _without_folders(recipe: Recipe) -> dict[str, Any]:
    told: dict[str, Any] = msgspec.to_builtins(recipe)
    told["initial"] = Path(recipe.initial).name
    told["distillation"]["teachers"] = [Path(teacher).name for teacher in recipe.distillation.teachers]
    return told


def _ancestors(recipe: Recipe) -> dict[str, Any]:
    """Tell of the fits that this one began from or learnt from."""
    ancestors: dict[str, Any] = {}
    if recipe.initial not in NAMED:
        ancestors["initial"] = _of_fit(Path(recipe.initial))
    if recipe.distillation.teachers:
        ancestors["teachers"] = [_of_fit(Path(teacher)) for teacher in recipe.distillation.teachers]
    return ancestors


def _of_fit(file: Path) -> dict[str, Any]:
    """Give a model's hash, and what is told of its fit."""
    require_network_file(str(file))
    told = file.with_name(PROVENANCE)
    return {
        "sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
        "training": json.loads(told.read_text()) if told.is_file() else None,
    }


def calibrate_run(run: Path, data: Path) -> Path:
    """Fit calibration and operating points of a run's model on the validation films of its own split.

    Thresholds are fitted on calibrated probabilities, each view mode for itself.

    Returns
    -------
    Path
        The written ``decisions.json``: the manifest's ``calibration`` and ``operating_points``, the
        default view mode, and the figures behind these choices.
    """
    films = split_of(run, data)["validation"]
    network = to_float32(keras.models.load_model(run / MODEL, compile=False))
    part = load_part(films, network.input_shape[1], "validation")
    per_view = predict_views(network, part.films, SIX_VIEWS)
    split = msgspec.convert(read_provenance(run)["recipe"]["split"], Split)
    fitted_on = f"{len(films)} validation films of {films['patient'].nunique()} patients ({split.describe()})"
    return write_json(run / DECISIONS, decide(part, per_view, fitted_on))


def read_provenance(run: Path) -> dict[str, Any]:
    """Read where a finished run's model comes from.

    Raises
    ------
    DataError
        It is not finished, or no run at all.
    """
    if not (run / MODEL).is_file() or not (run / PROVENANCE).is_file():
        raise DataError(f"{run} holds no finished fit: expected {MODEL} and {PROVENANCE}; go on with it by --resume")
    told: dict[str, Any] = json.loads((run / PROVENANCE).read_text())
    return told


def split_of(run: Path, data: Path) -> Parts:
    """Divide films as a run did.

    Raises
    ------
    DataError
        The films are not those of the run: their split would be another.
    """
    told = read_provenance(run)
    parts = split_films(read_dataset(data), msgspec.convert(told["recipe"]["split"], Split))
    if (found := hash_of_table(pd.concat(parts.values()))) != told["table_sha256"]:
        raise DataError(
            f"{data}: expected the table the model was fitted on ({told['table_sha256'][:12]}…), "
            f"got {found[:12]}…; with other films the split would be another"
        )
    return parts


def save_model(network: keras.Model, path: Path) -> None:
    """Save a model whole, compressed: rounded kernels shrink to about 60 % of their size."""
    plain = path.with_suffix(".uncompressed.keras")
    part = path.with_suffix(".part")
    network.save(plain)
    with zipfile.ZipFile(plain) as source, zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as packed:
        for name in source.namelist():
            packed.writestr(name, source.read(name))
    plain.unlink()
    part.replace(path)
