"""Gate the graphs and write the bundle: all of it, or nothing."""

from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import keras
import msgspec
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from cxr_edge.model.bundle import MODEL_CARD
from cxr_edge.model.labels import Label
from cxr_edge.model.manifest import FORMAT_MAJOR
from export.bundle_files import write_bundle
from export.card import model_card
from export.errors import ExportError
from export.gradcam_graph import gradcam_graph, read_head
from export.images import load_gate_images
from export.network_graph import TENSORS, network_graph
from export.parity import TOLERANCES, measure, require_parity
from training.labels import LabelSet
from training.network.architecture import LAST_CONVOLUTION, to_float32
from training.network.tta import VARIANTS

#: Findings less probable than this are not reported, unless a threshold lies lower still.
MIN_PROBABILITY = 0.05


@dataclass(frozen=True)
class Graphs:
    """The serialised ONNX graphs of one precision: the network, and the companion that computes its maps."""

    model: bytes
    maps: bytes


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
    """

    name: str
    version: str
    decisions: dict[str, Any]
    training: dict[str, Any]
    notes: str


def convert(network: keras.Model) -> Graphs:
    """Convert a float32 model and its Grad-CAM companion."""
    positions = network.get_layer(LAST_CONVOLUTION).output.shape[1:3]
    return Graphs(
        model=network_graph(network).SerializeToString(),
        maps=gradcam_graph(read_head(network), positions).SerializeToString(),
    )


def export(model: Path, description: Description, images: Path, out: Path) -> Path:
    """Convert a trained model, compare it with Keras on real images, and write the bundle.

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
    return publish(network, convert(network), description, gate_images, out)


def publish(
    network: keras.Model, graphs: Graphs, description: Description, images: npt.NDArray[np.uint8], out: Path
) -> Path:
    """Gate converted graphs on pre-processed images, and write the bundle; see `export`."""
    differences = measure(network, graphs.model, graphs.maps, images)
    require_parity(differences)
    gate = {"images": len(images), "variants": len(VARIANTS), "largest_difference_to_keras": asdict(differences)}
    manifest = describe(network, description, gate)
    card = model_card(manifest)
    return write_bundle(
        manifest, {"model.onnx": graphs.model, "maps.onnx": graphs.maps, MODEL_CARD: card.encode()}, out
    )


def describe(network: keras.Model, description: Description, gate: dict[str, Any]) -> dict[str, Any]:
    """Return the manifest of a network's bundle, without the hashes of its files."""
    decisions, labels = description.decisions, _labels(network, description)
    size, grid = network.input_shape[1:3], network.get_layer(LAST_CONVOLUTION).output.shape[1:3]
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
        "maps": {"method": "gradcam", "graphs": {"fp32": "maps.onnx"}, "grid": grid},
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


def least_reported(operating_points: dict[str, Any], labels: LabelSet) -> float:
    """Return the probability below which findings are not reported: `MIN_PROBABILITY`, or a threshold below it."""
    thresholds: list[float] = [
        threshold
        for point in operating_points.values()
        for mode in ("single", "tta")
        for finding, threshold in point[mode]["thresholds"].items()
        if finding in labels.findings
    ]
    return min([MIN_PROBABILITY, *thresholds])


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
