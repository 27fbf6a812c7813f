"""Gate the graphs and write the bundle: all of it, or nothing."""

from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from cxr_edge.bundle import MODEL_CARD
from cxr_edge.labels import LABELS, NO_FINDING
from cxr_edge.manifest import FORMAT_MAJOR
from cxr_edge.views import SIX_VIEWS
from export.bundle_files import write_bundle
from export.card import model_card
from export.films import load_gate_films
from export.gradcam_graph import gradcam_graph, read_head
from export.network_graph import TENSORS, network_graph
from export.parity import TOLERANCES, measure, require_parity
from training.network import LAST_CONVOLUTION, to_float32

#: Diseases less probable than this are not reported, unless a threshold lies lower still.
MIN_PROBABILITY = 0.05


@dataclass(frozen=True)
class Graphs:
    """The two serialised ONNX graphs of one precision."""

    model: bytes
    gradcam: bytes


@dataclass(frozen=True)
class Description:
    """What the manifest tells beyond the graphs.

    Attributes
    ----------
    name, version : str
        Of the model.
    decisions : dict
        What ``python -m training calibrate`` wrote: ``calibration``, ``operating_points`` and
        ``default_view_mode`` as in the manifest.
    training : dict
        Where the weights come from.
    notes : str
        What else the card must tell of this model, as Markdown.
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
        gradcam=gradcam_graph(read_head(network), positions).SerializeToString(),
    )


def export(model: Path, description: Description, films: Path, out: Path) -> Path:
    """Convert a trained model, hold it against Keras on real films, and write the bundle.

    Parameters
    ----------
    model : Path
        A trained ``.keras`` file.
    description : Description
    films : Path
        Folder of real films for the gate.
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
    gate_films = load_gate_films(films, network.input_shape[1:3])
    return publish(network, convert(network), description, gate_films, out)


def publish(
    network: keras.Model, graphs: Graphs, description: Description, films: npt.NDArray[np.uint8], out: Path
) -> Path:
    """Gate graphs that are converted already on pre-processed films, and write the bundle; see `export`."""
    differences = measure(network, graphs.model, graphs.gradcam, films)
    require_parity(differences)
    gate = {"films": len(films), "views": len(SIX_VIEWS), "largest_difference_to_keras": asdict(differences)}
    manifest = _manifest(network, description, gate)
    card = model_card(manifest)
    return write_bundle(
        manifest, {"model.onnx": graphs.model, "gradcam.onnx": graphs.gradcam, MODEL_CARD: card.encode()}, out
    )


def _manifest(network: keras.Model, description: Description, gate: dict[str, Any]) -> dict[str, Any]:
    decisions = description.decisions
    return {
        "format_version": f"{FORMAT_MAJOR}.1",
        "name": description.name,
        "version": description.version,
        "labels": LABELS,
        "input": {"size": network.input_shape[1:3], "color": "grey", "scaling": "0-255", "interpolation": "area"},
        "views": [asdict(view) for view in SIX_VIEWS],
        "default_view_mode": decisions["default_view_mode"],
        "operating_points": decisions["operating_points"],
        "default_operating_point": next(iter(decisions["operating_points"])),
        "calibration": decisions["calibration"],
        "min_probability": min([MIN_PROBABILITY, *_disease_thresholds(decisions["operating_points"])]),
        "variants": {"fp32": {"model": "model.onnx", "gradcam": "gradcam.onnx", "precision": "float32", "gate": gate}},
        "default_variant": "fp32",
        "tensors": {field: getattr(TENSORS, field) for field in TENSORS.__struct_fields__},
        "tolerances": asdict(TOLERANCES),
        "training": {**description.training, **({"notes": description.notes} if description.notes else {})},
        "export": {
            "tensorflow": tf.__version__,
            **{name: version(name) for name in ("keras", "tf2onnx", "onnx", "onnxslim", "onnxruntime")},
        },
        "members": None,
        "view": None,
    }


def _disease_thresholds(operating_points: dict[str, Any]) -> list[float]:
    return [
        value
        for point in operating_points.values()
        for mode in ("single", "tta")
        for label, value in point[mode]["thresholds"].items()
        if label != NO_FINDING
    ]
