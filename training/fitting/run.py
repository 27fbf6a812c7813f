"""A run directory: the model, its provenance, and what an unfinished fit needs to go on."""

import json
import zipfile
from pathlib import Path
from typing import Any

import keras
import msgspec

from training.data.images import Part, load_part, require_sizes
from training.data.nih import hash_of_table, read_dataset
from training.data.splits import Parts, split_images
from training.decisions.decide import require_enough
from training.errors import DataError
from training.files import locked, write_json
from training.fitting.checkpoint import STATE
from training.fitting.fit import fit
from training.fitting.plan import describe_plan
from training.fitting.provenance import MODEL, PROVENANCE, labels_of, provenance, read_provenance, resumed_provenance
from training.labels import LabelSet, read_labels
from training.recipe import Recipe, Split

IDENTITY = "identity.json"


def fit_run(
    data: Path,
    out: Path,
    recipe: Recipe,
    *,
    resume: bool = False,
    deterministic: bool = False,
    tensorboard: bool = False,
    cpu_asked_for: bool = False,
) -> Path:
    """Fit on the training part of a data set and save the whole model with its provenance.

    Parameters
    ----------
    data : Path
        See `training.data.nih.read_dataset`.
    out : Path
        The run directory; made if missing.
    recipe : Recipe
    resume : bool
        Continue an interrupted fit in `out`, by the same recipe on the same images.
    deterministic, tensorboard : bool
        See `training.fitting.fit.fit`.
    cpu_asked_for : bool
        Fit on a CPU, however long it takes.

    Returns
    -------
    Path
        The saved ``.keras`` file.

    Raises
    ------
    DataError
        `out` holds another fit; or one by the same recipe, and `resume` is not asked for.
    FitError
        There is no GPU for a fit that would take days without; or the loss is not a number.
    """
    labels = read_labels(recipe.labels)
    images = read_dataset(data, labels)
    parts = split_images(images, recipe.split)
    require_sizes(parts["train"], [stage.size for stage in recipe.stages])
    current = provenance(parts, recipe, labels)
    plan = describe_plan(parts, recipe, labels, cpu_asked_for=cpu_asked_for)

    def load(size: int) -> tuple[Part, Part]:
        train, validation = (load_part(parts[name], size, name, labels) for name in ("train", "validation"))
        return train, validation

    with locked(out):
        resumes = _claim(out, _identity(current), resume=resume)
        if (out / MODEL).exists():
            return out / MODEL
        _describe_parts(parts, labels, len(images))
        print("\n".join(plan))  # noqa: T201
        if resume and not resumes:
            print(f"{out} holds nothing to resume: a new fit begins")  # noqa: T201
        write_json(out / PROVENANCE, resumed_provenance(out, current) if resumes else current)
        save_model(fit(recipe, load, out, deterministic=deterministic, tensorboard=tensorboard), out / MODEL)
        _remove_state(out)
    return out / MODEL


def _describe_parts(parts: Parts, labels: LabelSet, images: int) -> None:
    """Print what is fitted on, and what will be refused later."""
    counts = [f"{name} {len(part):,} images of {part['patient'].nunique():,} patients" for name, part in parts.items()]
    if left_out := images - sum(map(len, parts.values())):
        counts.append(f"{left_out:,} images in no part")
    print(", ".join(counts))  # noqa: T201
    try:
        require_enough(parts["validation"], labels)
    except DataError as error:
        print(f"`calibrate` will refuse this run: {error}")  # noqa: T201


def _identity(current: dict[str, Any]) -> dict[str, Any]:
    """Return what identifies a fit: its recipe, its images, and the weights it starts from or learns from."""
    ancestors = [*([current["initial"]] if "initial" in current else []), *current.get("teachers", [])]
    return {
        "recipe": current["recipe"],
        "part_sha256": current["part_sha256"],
        "weights_sha256": [ancestor["sha256"] for ancestor in ancestors],
    }


def _claim(out: Path, identity: dict[str, Any], *, resume: bool) -> bool:
    """Bind the directory to one fit; return whether it was bound to it before."""
    claimed = out / IDENTITY
    if not claimed.exists():
        if strange := [name for name in (MODEL, PROVENANCE, STATE) if (out / name).exists()]:
            raise DataError(f"{out} holds {', '.join(strange)} of another origin; choose another --out")
        write_json(claimed, identity)
        return False
    if _with_defaults(json.loads(claimed.read_text())) != _with_defaults(json.loads(json.dumps(identity))):
        raise DataError(f"{out} holds a fit by another recipe, of other images or weights; choose another --out")
    if not resume:
        raise DataError(f"{out} holds this fit already; continue it with --resume, or choose another --out")
    return True


def _with_defaults(identity: dict[str, Any]) -> dict[str, Any]:
    """Fill in the keys that a recipe of an earlier version lacks."""
    try:
        return {**identity, "recipe": msgspec.convert(identity["recipe"], Recipe)}
    except msgspec.ValidationError as error:
        raise DataError(f"{IDENTITY} holds a recipe that this version does not know: {error}") from error


def _remove_state(out: Path) -> None:
    """Remove the files that only an unfinished fit needs."""
    for left in [out / STATE, *out.glob("stage-*.keras")]:
        left.unlink(missing_ok=True)


def split_of(run: Path, data: Path) -> Parts:
    """Divide images as a run did.

    Raises
    ------
    DataError
        The run is not finished, or the images or their split are not those of the run.
    """
    recorded, labels = read_provenance(run), labels_of(run)
    expected = recorded["part_sha256"]
    parts = split_images(read_dataset(data, labels), msgspec.convert(recorded["recipe"]["split"], Split))
    for name, part in parts.items():
        if (found := hash_of_table(part, labels.names)) != expected[name]:
            raise DataError(
                f"{data}: expected the {name} images the model was fitted with ({expected[name][:12]}…), "
                f"got {found[:12]}…; use the images and the split file of the fit, or fit again"
            )
    return parts


def save_model(network: keras.Model, path: Path) -> None:
    """Save a model compressed: rounded kernels shrink to about 60 % of their size."""
    plain = path.with_suffix(".uncompressed.keras")
    part = path.with_suffix(".part")
    network.save(plain)
    with zipfile.ZipFile(plain) as source, zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as packed:
        for name in source.namelist():
            packed.writestr(name, source.read(name))
    plain.unlink()
    part.replace(path)
