"""An imported classifier as a bundle: heat maps where its head has them, gates, manifest and card; or nothing."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt
import onnx
from onnx import ModelProto, TensorProto, helper

from cxr_edge.backends import Resources, open_graph
from cxr_edge.model.bundle import MODEL_CARD
from cxr_edge.model.manifest import FORMAT_MAJOR
from cxr_edge.model.tta import IDENTITY
from cxr_edge.support.parallel import usable_cores
from export.bundle_files import write_bundle
from export.card import model_card
from export.companion.features import Features, find_features, named_features
from export.companion.nodes import batch_of, infer_types
from export.errors import ExportError, NoCompanion
from export.heatmaps import MapMethod, described_maps, gate_maps, with_maps
from export.images import load_gate_images
from export.importing.source import Imported
from export.importing.wrap import PREFIX
from export.tensors import TENSORS
from training.decisions.thresholds import least_reported

#: Largest absolute difference of a probability from the model as it came.
TOLERANCE: Final = 1e-4
#: Probabilities of different images that differ by less come from a network that does not see them.
_SAME: Final = 1e-6


@dataclass(frozen=True)
class Details:
    """What the manifest states beyond the model.

    Attributes
    ----------
    name, version : str
    thresholds : dict
        Finding → threshold.
    fitted_on : str
        What the thresholds come from.
    maps : {'layercam', 'gradcam', 'fine'} or None
        How heat maps are computed; None for a bundle without them.
    """

    name: str
    version: str
    thresholds: dict[str, float]
    fitted_on: str
    maps: MapMethod | None = "layercam"


@dataclass(frozen=True)
class Written:
    """What `publish_import` wrote.

    Attributes
    ----------
    bundle : Path
    difference : float
        Largest difference of a probability on the images of the gate.
    features : str or None
        The tensor that maps are computed from, by its name in the file.
    no_maps : str
        Why there are none; empty where there are, or none were asked for.
    notes : tuple of str
        What looks wrong in the answers.
    """

    bundle: Path
    difference: float
    features: str | None
    no_maps: str
    notes: tuple[str, ...] = ()


def publish_import(imported: Imported, details: Details, images: Path, out: Path) -> Written:
    """Compare an imported classifier with the model as it came, and write the bundle.

    Parameters
    ----------
    imported : Imported
    details : Details
    images : Path
        Folder of real images for the gate.
    out : Path
        Replaced only once the new bundle is complete.

    Raises
    ------
    ExportError
        The graph does not compute what the model does; or the maps of features that the user named are refused.
    """
    network, maps, found, no_maps = imported.network, None, None, ""
    if details.maps is not None:
        try:
            exposed, found = expose_features(network, imported.features)
            network, maps = with_maps(exposed, details.maps)
        except NoCompanion as refusal:
            why = str(refusal).replace(f"'{TENSORS.features}'", f"{found.name!r}" if found else "the features")
            why = why.replace(PREFIX, "")
            if imported.features is not None:
                raise NoCompanion(why) from refusal
            found, no_maps = None, why
    shown = load_gate_images(images, imported.input.size, imported.input.fit)
    expected = imported.oracle(shown)
    difference = _require_parity(network, expected, shown)
    gate: dict[str, Any] = {
        "images": len(shown), "variants": 1, "largest_difference_to_source": {"probabilities": difference}
    }  # fmt: skip
    files, described = {"model.onnx": network.SerializeToString()}, None
    if maps is not None and details.maps is not None:
        try:
            gate["largest_difference_to_numerical_gradient"] = gate_maps(network, maps, details.maps, shown)
        except ExportError as refusal:
            if imported.features is not None:
                raise
            found, no_maps = None, str(refusal)
        else:
            files["maps.onnx"], described = maps.SerializeToString(), described_maps(maps, details.maps)
    manifest = _manifest(imported, details, gate, described, no_maps)
    write_bundle(manifest, {**files, MODEL_CARD: model_card(manifest).encode()}, out)
    features = None if found is None else found.name.removeprefix(PREFIX)
    return Written(out, difference, features, no_maps, tuple(_doubts(expected, imported.labels.names)))


def _doubts(probabilities: npt.NDArray[np.floating[Any]], names: Sequence[str]) -> Iterator[str]:
    """Yield what looks wrong in the answers for different images."""
    same = [name for name, column in zip(names, probabilities.T, strict=True) if np.ptp(column) < _SAME]
    if same:
        yield (
            f"{', '.join(same)}: the same probability for all {len(probabilities)} images; do --range, --mean and "
            "--std say what the model was trained with?"
        )


def expose_features(network: ModelProto, name: str | None) -> tuple[ModelProto, Features]:
    """Make the features an output in the layout of a bundle, on the way to the logits.

    Parameters
    ----------
    network : ModelProto
    name : str or None
        Of the tensor; None to search it.

    Returns
    -------
    ModelProto
    Features
        The tensor as the network has it.

    Raises
    ------
    NoCompanion
        There is none with positions.
    """
    found = find_features(network, TENSORS.logits) if name is None else named_features(network, name, None)
    exposed = ModelProto()
    exposed.CopyFrom(network)
    graph, first = exposed.graph, found.layout == "channels_first"
    place = next(i for i, node in enumerate(graph.node) if found.name in node.output) + 1
    behind = f"{found.name}/behind"
    for node in graph.node[place:]:
        node.input[:] = [behind if name == found.name else name for name in node.input]
    turned = [("Transpose", {"perm": [0, 2, 3, 1]}), ("Transpose", {"perm": [0, 3, 1, 2]})]
    kept: list[tuple[str, dict[str, Any]]] = [("Identity", {}), ("Identity", {})]
    (there, how), (back, how_back) = turned if first else kept
    element = infer_types(network)[found.name].tensor_type.elem_type
    is_single = element == TensorProto.FLOAT  # a network may compute in half precision
    single, again = (found.name, behind) if is_single else (f"{found.name}/single", f"{found.name}/again")
    nodes = [
        helper.make_node(there, [single], [TENSORS.features], **how),
        helper.make_node(back, [TENSORS.features], [again], **how_back),
    ]
    if not is_single:
        nodes.insert(0, helper.make_node("Cast", [found.name], [single], to=TensorProto.FLOAT))
        nodes.append(helper.make_node("Cast", [again], [behind], to=element))
    for node in reversed(nodes):
        graph.node.insert(place, node)
    shape = [batch_of(network), *found.grid, found.channels]
    graph.output.append(helper.make_tensor_value_info(TENSORS.features, TensorProto.FLOAT, shape))
    onnx.checker.check_model(exposed, full_check=True)
    return exposed, found


def _require_parity(
    network: ModelProto, expected: npt.NDArray[np.floating[Any]], images: npt.NDArray[np.uint8]
) -> float:
    graph = open_graph(network.SerializeToString(), resources=Resources(threads=usable_cores()))
    batches = images[:, np.newaxis] if batch_of(network) == 1 else images[np.newaxis]
    found = np.concatenate([graph.run([TENSORS.probabilities], {TENSORS.image: batch})[0] for batch in batches])
    difference = float(np.abs(found - expected).max())
    if not difference <= TOLERANCE:
        raise ExportError(
            f"expected probabilities within {TOLERANCE:g} of the model as it came, got a difference of "
            f"{difference:.3g} on real images; no bundle is written"
        )
    return difference


def _manifest(
    imported: Imported, details: Details, gate: dict[str, Any], maps: dict[str, Any] | None, no_maps: str
) -> dict[str, Any]:
    fitted = {"thresholds": details.thresholds, "fitted_on": details.fitted_on}
    points = {"imported": {"single": fitted, "tta": fitted}}
    return {
        "format_version": f"{FORMAT_MAJOR}.0",
        "name": details.name,
        "version": details.version,
        "labels": msgspec.to_builtins(imported.labels.records),
        "input": msgspec.to_builtins(imported.input),
        "tta": {"variants": [asdict(IDENTITY)], "default_mode": "single"},
        "operating_points": points,
        "default_operating_point": "imported",
        "calibration": {"method": "identity"},
        "min_probability": least_reported(points, imported.labels),
        "variants": {"fp32": {"model": "model.onnx", "precision": "float32", "gate": gate}},
        "default_variant": "fp32",
        "maps": maps,
        "tensors": {field: getattr(TENSORS, field) for field in TENSORS.__struct_fields__},
        "tolerances": {"probabilities": TOLERANCE},
        "training": {"imported": imported.origin, "no_maps": no_maps},
        "export": {name: version(name) for name in ("onnx", "onnxruntime")},
        "members": None,
        "view": "frontal",
        "header_checks": None,
    }
