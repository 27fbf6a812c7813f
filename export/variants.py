"""Variants of a bundle in other precisions: made from its float32 graphs, gated, written only if they pass."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, TypeAlias

import msgspec
import numpy as np
import numpy.typing as npt
import onnx
import pandas as pd

from cxr_edge.images import read_image
from cxr_edge.model.bundle import Bundle, read_bundle
from cxr_edge.model.gates import OWN_IMAGES
from cxr_edge.model.manifest import Variant
from cxr_edge.model.network import InputFormat, Network
from cxr_edge.model.preprocess import preprocess
from export.card import write_changed
from export.errors import ExportError
from export.float16 import emulated, to_float16
from export.gate import LIMITS, Runtime, answers, compare, verdict
from export.int8 import IMAGES, to_int8
from training.data.splits import of_collections
from training.evaluation.evaluate import part_of_split
from training.evaluation.looks import record_look
from training.evaluation.predictions import sources
from training.evaluation.resampling import Bootstrap
from training.versions import commit

REFERENCE: Final = Runtime("cpu", "fp32")


class GateError(ExportError):
    """A variant changes more than it may."""


#: A network's graph, and its companion where it has maps, serialised.
NetworkGraphs: TypeAlias = tuple[bytes, ...]


@dataclass(frozen=True)
class Made:
    """The graphs of a variant, and those that the gate runs in their place.

    Attributes
    ----------
    precision : str
        As in `cxr_edge.model.manifest.Variant`.
    graphs : tuple of NetworkGraphs
        Of each network of the bundle.
    judged : tuple of NetworkGraphs
        The same as the gate runs them on a CPU.
    """

    precision: str
    graphs: tuple[NetworkGraphs, ...]
    judged: tuple[NetworkGraphs, ...]


def make_fp16(bundle: Bundle, _validation: pd.DataFrame) -> Made:
    """Convert the float32 graphs of a bundle; see `export.float16`."""
    halves = [[to_float16(onnx.load_from_string(graph)) for graph in graphs] for graphs in exact_graphs(bundle)]
    graphs = tuple(tuple(half.SerializeToString() for half in of_network) for of_network in halves)
    judged = tuple(tuple(emulated(half).SerializeToString() for half in of_network) for of_network in halves)
    return Made("float16", graphs, judged)


def make_int8(bundle: Bundle, validation: pd.DataFrame) -> Made:
    """Quantise the float32 networks of a bundle; see `export.int8`. The companions stay as they are."""
    graphs = []
    for described, (network, *companion) in zip(bundle.manifest.networks, exact_graphs(bundle), strict=True):
        observed = calibration_images(validation, described.input)
        graphs.append((to_int8(onnx.load_from_string(network), observed).SerializeToString(), *companion))
    return Made("int8", tuple(graphs), tuple(graphs))


def exact_graphs(bundle: Bundle) -> list[NetworkGraphs]:
    """Return the float32 graphs of each network of a bundle."""
    return [
        tuple(bundle.files[file] for file in network.files(REFERENCE.precision)) for network in bundle.manifest.networks
    ]


def calibration_images(validation: pd.DataFrame, shown: InputFormat) -> npt.NDArray[np.uint8]:
    """Draw the images that activations are observed on, pre-processed to a network's input."""
    chosen = validation.sample(min(IMAGES, len(validation)), random_state=0)
    return np.stack(
        [
            preprocess(source if isinstance(source, np.ndarray) else read_image(source).pixels, shown.size, shown.fit)
            for source in sources(chosen, shown.size[0])
        ]
    )


MAKERS = {"fp16": make_fp16, "int8": make_int8}


def gate(bundle: Bundle, name: str, made: Made, images: pd.DataFrame, bootstrap: Bootstrap) -> dict[str, Any]:
    """Compare a variant with float32 on images with labels; see `export.gate.compare`."""
    judged = with_variant(bundle, name, replace(made, graphs=made.judged))
    one, two = (answers(judged, runtime, images) for runtime in (REFERENCE, Runtime("cpu", name)))
    return verdict(compare(judged.manifest, one, two, images, bootstrap), LIMITS[name])


def with_variant(bundle: Bundle, name: str, made: Made, figures: dict[str, Any] | None = None) -> Bundle:
    """Return a bundle in memory with another variant.

    Parameters
    ----------
    bundle : Bundle
    name : str
        Of the variant.
    made : Made
    figures : dict, optional
        Of its gate, by part.
    """
    manifest, files = bundle.manifest, dict(bundle.files)
    networks = []
    for network, graphs in zip(manifest.networks, made.graphs, strict=True):
        names = _file_names(bundle, network, name, graphs)
        files |= dict(zip(names, graphs, strict=True))
        networks.append(_with_files(network, name, names))
    alone = None if manifest.members is not None else networks[0]
    variant = Variant(alone.variants[name] if alone else None, made.precision, figures or {})
    maps = manifest.maps
    if maps is not None and alone is not None and alone.maps is not None:
        maps = msgspec.structs.replace(maps, graphs=alone.maps.graphs)
    changed = msgspec.structs.replace(
        manifest,
        variants={**manifest.variants, name: variant},
        maps=maps,
        members=None if alone else tuple(networks),
    )
    return replace(bundle, manifest=changed, files=files)


def _file_names(bundle: Bundle, network: Network, name: str, graphs: NetworkGraphs) -> tuple[str, ...]:
    """Name the files of a variant; a companion that equals the default variant's is not stored twice."""
    model, *companion = network.files(bundle.manifest.default_variant)
    new = [f"{Path(file).stem}.{name}.onnx" for file in (model, *companion)]
    if companion and graphs[1] == bundle.files[companion[0]]:
        new[1] = companion[0]
    return tuple(new)


def _with_files(network: Network, name: str, files: tuple[str, ...]) -> Network:
    maps = network.maps
    if maps is not None:
        maps = msgspec.structs.replace(maps, graphs={**maps.graphs, name: files[1]})
    return msgspec.structs.replace(network, variants={**network.variants, name: files[0]}, maps=maps)


def add_variant(
    root: Path,
    name: str,
    images: pd.DataFrame,
    bootstrap: Bootstrap,
    *,
    look_at_test: bool,
    collections: Sequence[str] = (),
) -> Variant:
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
    collections : sequence of str
        Gate it on the images of these collections alone; of all, if left out.

    Raises
    ------
    GateError
        It is over a limit; nothing is written.
    """
    bundle = read_bundle(root)
    parts = ("validation", "test") if look_at_test else ("validation",)
    tables = {part: of_collections(part_of_split(bundle, images, part)[0], collections) for part in parts}
    return _add_gated(root, bundle, name, tables, bootstrap)


def add_variant_on(root: Path, name: str, images: pd.DataFrame, bootstrap: Bootstrap) -> Variant:
    """Make a variant of a bundle that records no split, such as an imported one; gate it on images without labels.

    Parameters
    ----------
    root, name, bootstrap
        As for `add_variant`.
    images : DataFrame
        With ``image`` and ``path``.

    Raises
    ------
    GateError
        It is over a limit; nothing is written.
    """
    return _add_gated(root, read_bundle(root), name, {OWN_IMAGES: images}, bootstrap)


def _add_gated(
    root: Path, bundle: Bundle, name: str, tables: Mapping[str, pd.DataFrame], bootstrap: Bootstrap
) -> Variant:
    made = MAKERS[name](bundle, next(iter(tables.values())))
    figures = {}
    for part, table in tables.items():
        figures[part] = gate(bundle, name, made, table, bootstrap)
        if part == "test":
            record_look(look_of(bundle, REFERENCE, Runtime("cpu", name), figures[part]))
        if over := figures[part]["over_limits"]:
            raise GateError(f"{name} is not written, on {len(table)} {part} images: {'; '.join(over)}")
    return write_variant(root, bundle, name, made, figures)


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


def write_variant(root: Path, bundle: Bundle, name: str, made: Made, figures: dict[str, Any]) -> Variant:
    """Write a variant into a bundle's directory.

    Parameters
    ----------
    root : Path
    bundle : Bundle
        What the directory holds.
    name : str
        Of the variant.
    made : Made
    figures : dict
        Of its gate, by part.
    """
    added = with_variant(bundle, name, made, figures)
    changed = {key: msgspec.to_builtins(getattr(added.manifest, key)) for key in ("variants", "maps", "members")}
    write_changed(root, added, changed)
    return added.manifest.variants[name]
