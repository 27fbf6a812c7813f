"""Variants of a bundle in other precisions: made from its float32 graphs, gated, written only if they pass."""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt
import onnx
import pandas as pd

from cxr_edge.images import read_image
from cxr_edge.model.bundle import MANIFEST, MODEL_CARD, Bundle, read_bundle
from cxr_edge.model.manifest import Variant
from cxr_edge.model.preprocess import preprocess
from export.bundle_files import write_bundle
from export.card import measured, model_card
from export.errors import ExportError
from export.float16 import emulated, to_float16
from export.gate import LIMITS, Runtime, answers, compare, verdict
from export.int8 import IMAGES, to_int8
from training.evaluation.evaluate import part_of_split
from training.evaluation.looks import record_look
from training.evaluation.predictions import sources
from training.evaluation.resampling import Bootstrap
from training.versions import commit

REFERENCE: Final = Runtime("cpu", "fp32")


class GateError(ExportError):
    """A variant changes more than it may."""


@dataclass(frozen=True)
class Made:
    """The serialised graphs of a variant, and those that the gate runs in their place.

    Attributes
    ----------
    precision : str
        As in `cxr_edge.model.manifest.Variant`.
    graphs : tuple of bytes
        The network, and its companion where the bundle has maps.
    judged : tuple of bytes
        The same as the gate runs them on a CPU.
    """

    precision: str
    graphs: tuple[bytes, ...]
    judged: tuple[bytes, ...]


def make_fp16(bundle: Bundle, _validation: pd.DataFrame) -> Made:
    """Convert the float32 graphs of a bundle; see `export.float16`."""
    files = bundle.manifest.graph_files(REFERENCE.precision)
    halves = [to_float16(onnx.load_from_string(bundle.files[file])) for file in files]
    graphs = tuple(half.SerializeToString() for half in halves)
    return Made("float16", graphs, tuple(emulated(half).SerializeToString() for half in halves))


def make_int8(bundle: Bundle, validation: pd.DataFrame) -> Made:
    """Quantise the float32 network of a bundle; see `export.int8`. The companion stays as it is."""
    network, *companion = (bundle.files[file] for file in bundle.manifest.graph_files(REFERENCE.precision))
    quantised = to_int8(onnx.load_from_string(network), calibration_images(bundle, validation)).SerializeToString()
    graphs = (quantised, *companion)
    return Made("int8", graphs, graphs)


def calibration_images(bundle: Bundle, validation: pd.DataFrame) -> npt.NDArray[np.uint8]:
    """Draw the images that activations are observed on, pre-processed."""
    chosen = validation.sample(min(IMAGES, len(validation)), random_state=0)
    size = bundle.manifest.input.size
    return np.stack(
        [
            preprocess(source if isinstance(source, np.ndarray) else read_image(source).pixels, size)
            for source in sources(chosen, size[0])
        ]
    )


MAKERS = {"fp16": make_fp16, "int8": make_int8}


def gate(bundle: Bundle, name: str, made: Made, images: pd.DataFrame, bootstrap: Bootstrap) -> dict[str, Any]:
    """Compare a variant with float32 on images with labels; see `export.gate.compare`."""
    judged = with_variant(bundle, name, made.precision, made.judged)
    one, two = (answers(judged, runtime, images) for runtime in (REFERENCE, Runtime("cpu", name)))
    return verdict(compare(judged.manifest, one, two, images, bootstrap), LIMITS[name])


def with_variant(bundle: Bundle, name: str, precision: str, graphs: tuple[bytes, ...]) -> Bundle:
    """Return a bundle in memory with another variant."""
    manifest = bundle.manifest
    added = Variant(f"model.{name}.onnx", precision, {})
    files = dict(zip((added.model, f"maps.{name}.onnx"), graphs, strict=False))
    maps = manifest.maps
    if maps is not None:
        maps = msgspec.structs.replace(maps, graphs={**maps.graphs, name: f"maps.{name}.onnx"})
    changed = msgspec.structs.replace(manifest, variants={**manifest.variants, name: added}, maps=maps)
    return replace(bundle, manifest=changed, files={**bundle.files, **files})


def add_variant(root: Path, name: str, images: pd.DataFrame, bootstrap: Bootstrap, *, look_at_test: bool) -> Variant:
    """Make a variant, gate it on the bundle's validation images, and write it into the bundle.

    Parameters
    ----------
    root : Path
        The bundle.
    name : str
        One of `MAKERS`.
    images : DataFrame
        All images of the data set the bundle was trained by; see `part_of_split`.
    bootstrap : Bootstrap
    look_at_test : bool
        Then gate it on the test images too; the test look is recorded.

    Raises
    ------
    GateError
        It is over a limit; nothing is written.
    """
    bundle = read_bundle(root)
    parts = ("validation", "test") if look_at_test else ("validation",)
    tables = {part: part_of_split(bundle, images, part)[0] for part in parts}
    made = MAKERS[name](bundle, tables["validation"])
    figures = {}
    for part, table in tables.items():
        figures[part] = gate(bundle, name, made, table, bootstrap)
        if part == "test":
            record_look(look_of(bundle, REFERENCE, Runtime("cpu", name), figures[part]))
        if over := figures[part]["over_limits"]:
            raise GateError(f"{name} is not written, on {len(table)} {part} images: {'; '.join(over)}")
    return _write(root, bundle, name, made, figures)


def _companion_file(bundle: Bundle, name: str, made: Made) -> str:
    """Name the companion of a variant; one that equals the default variant's is not stored twice."""
    _, default = bundle.manifest.graph_files(bundle.manifest.default_variant)
    return default if made.graphs[1] == bundle.files[default] else f"maps.{name}.onnx"


def look_of(bundle: Bundle, reference: Runtime, candidate: Runtime, figures: dict[str, Any]) -> dict[str, Any]:
    """Describe a test look that compared two runtimes."""
    return {
        "bundle": bundle.identity,
        "bundle_sha256": bundle.sha256,
        "commit": commit(),
        "images": figures["images"],
        "compared": [str(reference), str(candidate)],
        "change_of_mean_auc": {mode: changes["mean_auc"] for mode, changes in figures["tta_modes"].items()},
    }


def _write(root: Path, bundle: Bundle, name: str, made: Made, figures: dict[str, Any]) -> Variant:
    variant = Variant(f"model.{name}.onnx", made.precision, figures)
    manifest, files = json.loads((root / MANIFEST).read_bytes()), {variant.model: made.graphs[0]}
    manifest["variants"][name] = msgspec.to_builtins(variant)
    if bundle.manifest.maps is not None:
        companion = _companion_file(bundle, name, made)
        manifest["maps"]["graphs"][name] = companion
        files[companion] = made.graphs[1]
    card = model_card(manifest, measured(bundle))
    write_bundle(manifest, {**bundle.files, **files, MODEL_CARD: card.encode()}, root)
    return variant
