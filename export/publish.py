"""Gate the graphs and write the bundle: all of it, or nothing."""

from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import keras
import msgspec
import numpy as np
import numpy.typing as npt
import onnx
import tensorflow as tf

from cxr_edge.model.bundle import MODEL_CARD
from cxr_edge.model.labels import Label
from cxr_edge.model.manifest import FORMAT_MAJOR
from export.bundle_files import write_bundle
from export.card import model_card
from export.convert import Graphs, convert
from export.errors import ExportError
from export.heatmaps import MapMethod, described_maps, gate_maps
from export.images import load_gate_images
from export.parity import TOLERANCES, measure, require_parity
from export.tensors import TENSORS
from training.decisions.thresholds import least_reported
from training.labels import LabelSet
from training.network.architecture import to_float32
from training.network.tta import VARIANTS


@dataclass(frozen=True)
class Description:
    """What the manifest states beyond the graphs.

    Attributes
    ----------
    name, version : str
        Of the model.
    decisions : dict
        What ``python -m training calibrate`` wrote: ``calibration``, ``operating_points`` and
        ``default_tta_mode`` as in the manifest.
    training : dict
        Where the weights come from.
    notes : str
        Notes for the card, as Markdown.
    maps : {'layercam', 'gradcam', 'fine'} or None
        How heat maps are computed; None for a bundle without them.
    """

    name: str
    version: str
    decisions: dict[str, Any]
    training: dict[str, Any]
    notes: str
    maps: MapMethod | None = "layercam"


def export(model: Path, description: Description, images: Path, out: Path) -> Path:
    """Convert a trained model, compare it with Keras on real images, and write the bundle.

    The gradient in its companion graph is compared with numerical differentiation too.

    Parameters
    ----------
    model : Path
        A trained ``.keras`` file.
    description : Description
    images : Path
        Folder of real images for the gate.
    out : Path
        Replaced only once the new bundle is complete.

    Returns
    -------
    Path
        `out`.

    Raises
    ------
    ExportError, cxr_edge.errors.BundleError
        No bundle is written, and one that was there stays.
    """
    network = to_float32(keras.models.load_model(model, compile=False))
    gate_images = load_gate_images(images, network.input_shape[1:3])
    return publish(network, convert(network, description.maps), description, gate_images, out)


def publish(
    network: keras.Model, graphs: Graphs, description: Description, images: npt.NDArray[np.uint8], out: Path
) -> Path:
    """Gate converted graphs on pre-processed images, and write the bundle; see `export`."""
    maps = None
    if graphs.maps is not None and description.maps is not None:
        maps = described_maps(onnx.load_from_string(graphs.maps), description.maps)
    manifest = describe(network, description, _gate(network, graphs, description.maps, images), maps)
    files = {"model.onnx": graphs.model, MODEL_CARD: model_card(manifest).encode()}
    return write_bundle(manifest, files if graphs.maps is None else {**files, "maps.onnx": graphs.maps}, out)


def _gate(
    network: keras.Model, graphs: Graphs, method: MapMethod | None, images: npt.NDArray[np.uint8]
) -> dict[str, Any]:
    """Return the figures of the gate, for the manifest.

    Raises
    ------
    ExportError
        One is over its tolerance.
    """
    differences = measure(network, graphs, method, images)
    require_parity(differences)
    found = {name: value for name, value in asdict(differences).items() if value is not None}
    gate: dict[str, Any] = {
        "images": len(images),
        "variants": len(VARIANTS),
        "largest_difference_to_keras": found,
    }
    if method is not None and graphs.maps is not None:
        model, maps = (onnx.load_from_string(graph) for graph in (graphs.model, graphs.maps))
        gate["largest_difference_to_numerical_gradient"] = gate_maps(model, maps, method, images)
    return gate


def describe(
    network: keras.Model, description: Description, gate: dict[str, Any], maps: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Return the manifest of a network's bundle, with these maps, without the hashes of its files."""
    decisions, labels = description.decisions, _labels(network, description)
    size = network.input_shape[1:3]
    return {
        "format_version": f"{FORMAT_MAJOR}.0",
        "name": description.name,
        "version": description.version,
        "labels": description.training["labels"],
        "input": {"size": size, "color": "grey", "scaling": "0-255", "interpolation": "area", "fit": "stretch"},
        "tta": {"variants": [asdict(variant) for variant in VARIANTS], "default_mode": decisions["default_tta_mode"]},
        "operating_points": decisions["operating_points"],
        "default_operating_point": next(iter(decisions["operating_points"])),
        "calibration": decisions["calibration"],
        "min_probability": least_reported(decisions["operating_points"], labels),
        "variants": {"fp32": {"model": "model.onnx", "precision": "float32", "gate": gate}},
        "default_variant": "fp32",
        "maps": maps,
        "tensors": {field: getattr(TENSORS, field) for field in TENSORS.__struct_fields__},
        "tolerances": asdict(TOLERANCES),
        "training": {**description.training, **({"notes": description.notes} if description.notes else {})},
        "export": {
            "tensorflow": tf.__version__,
            **{name: version(name) for name in ("keras", "tf2onnx", "onnx", "onnxslim", "onnxruntime")},
        },
        "members": None,
        "view": "frontal",
        "header_checks": None,
    }


def _labels(network: keras.Model, description: Description) -> LabelSet:
    """Return the labels that the model was trained on.

    Raises
    ------
    ExportError
        ``training.json`` does not record them, or not as many as the network has.
    """
    labels = LabelSet.of(msgspec.convert(description.training.get("labels", ()), tuple[Label, ...]))
    if len(labels) != network.output_shape[-1]:
        raise ExportError(
            f"training.json: expected the {network.output_shape[-1]} labels of the network, got {len(labels)}; "
            "export a model from the folder that `python -m training fit` wrote"
        )
    return labels
