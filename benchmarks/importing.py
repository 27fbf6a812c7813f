"""Bundles of models made elsewhere against their frameworks: ``python -m benchmarks.importing``.

All networks have random weights, with BatchNorm statistics of real radiographs, so that answers vary: parity and speed
do not depend on what was learned. One thread; what is timed is one image, pre-processed, to its probabilities.
"""

import json
import os
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated, Any, Final

import numpy as np
import numpy.typing as npt
import onnx
import pandas as pd
import typer

from benchmarks.images import SAMPLES
from benchmarks.measure import interleaved, machine, summary
from cxr_edge.backends import open_graph
from cxr_edge.model.bundle import Bundle, read_bundle
from export.importing.onnx_model import from_onnx
from export.importing.publish import Details, publish_import
from export.importing.source import Conventions, Range
from export.variants import gate, make_fp16
from training.evaluation.resampling import Bootstrap

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Subject:
    """A network of a framework.

    Attributes
    ----------
    name : str
        Framework, and network.
    labels, side, channels : int
    black, white : float
        Values of its input.
    graph : ModelProto
        As ONNX, by its framework's exporter.
    eager, compiled : callable
        Input, (N, C, H, W) or (N, H, W, C) float32 → answers; by the framework as it is, and compiled by it.
    """

    name: str
    labels: int
    side: int
    channels: int
    black: float
    white: float
    graph: onnx.ModelProto
    eager: Callable[[Array], Array]
    compiled: Callable[[Array], Array]


def main(
    rounds: Annotated[int, typer.Option(min=1, help="Rounds of the timing.")] = 15,
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the figures here as JSON.")] = None,
) -> None:
    """Import networks of the frameworks that are installed, and compare each bundle with its framework."""
    rows, left_out = [], {}
    for name in FRAMEWORKS:
        # TensorFlow and PyTorch in one process end it: both bring LLVM.
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
            try:
                rows += process.submit(measure_all, name, rounds).result()
            except ModuleNotFoundError as error:
                left_out[name] = str(error)
                typer.echo(f"{name} is left out: {error}", err=True)
    text = json.dumps({"machine": machine(), "threads": 1, "networks": rows, "left out": left_out}, indent=2)
    typer.echo(text)
    if out is not None:
        out.write_text(text + "\n")


def measure_all(framework: str, rounds: int) -> list[dict[str, Any]]:
    """Return the figures of each network of a framework.

    Raises
    ------
    ModuleNotFoundError
        The framework is not installed.
    """
    rows = []
    for subject in FRAMEWORKS[framework]():
        rows.append(measure(subject, rounds))
        typer.echo(json.dumps(rows[-1]), err=True)
    return rows


def measure(subject: Subject, rounds: int) -> dict[str, Any]:
    """Import a network, and return its figures."""
    how = Conventions(
        labels=tuple(f"L{number}" for number in range(subject.labels)),
        values=Range(subject.black, subject.white),
        size=(subject.side, subject.side),
        ends="probabilities",
    )
    imported = from_onnx(subject.graph, how, {"format": subject.name}, subject.eager)
    with tempfile.TemporaryDirectory() as scratch:
        details = Details("imported", "1", dict.fromkeys(imported.labels.findings, 0.5), "nothing")
        written = publish_import(imported, details, SAMPLES, Path(scratch, "bundle"))
        bundle = read_bundle(written.bundle)
    found = bundle.manifest.gate("fp32") or {}
    numerical = found.get("largest_difference_to_numerical_gradient", {})
    return {
        "network": subject.name,
        "labels": subject.labels,
        "side": subject.side,
        "difference of a probability": written.difference,
        "heat maps": written.features is not None,
        "difference of the maps to numerical differentiation": numerical.get("maps"),
        "float16": _float16(bundle),
        "milliseconds": _times(subject, bundle, rounds),
    }


def _float16(bundle: Bundle) -> dict[str, Any]:
    """Return the figures of the float16 gate on the samples."""
    paths = sorted(SAMPLES.glob("*.png"))
    table = pd.DataFrame({"image": [path.name for path in paths], "path": paths})
    figures = gate(bundle, "fp16", make_fp16(bundle, table), table, Bootstrap(20))
    changes = figures["tta_modes"]["single"]
    return {
        "passes": not figures["over_limits"],
        "max |Δp|": round(changes["probability"]["max"], 5),
        "flips": changes["flips"]["all"],
    }


def _times(subject: Subject, bundle: Bundle, rounds: int) -> dict[str, Any]:
    """Time one image, pre-processed, by the bundle and by its framework."""
    graph, (described,) = open_graph(bundle.files["model.onnx"]), bundle.manifest.networks
    rng = np.random.default_rng(0)
    shown = rng.integers(0, 256, (1, subject.side, subject.side), dtype=np.uint8)
    shape = [d.dim_value for d in subject.graph.graph.input[0].type.tensor_type.shape.dim][1:]
    levels = np.broadcast_to(np.expand_dims(shown, 1 if shape[0] == subject.channels else -1), (1, *shape))
    fed = (subject.black + levels / 255 * (subject.white - subject.black)).astype(np.float32)
    feeds = {described.tensors.image: shown}
    seconds = interleaved(
        {
            "bundle": lambda: graph.run([described.tensors.probabilities], feeds),
            "eager": lambda: subject.eager(fed),
            "compiled": lambda: subject.compiled(fed),
        },
        rounds,
        warm_up=3,
    )
    return summary(seconds, baseline="bundle")


def _radiographs(side: int, *, channels_last: bool) -> Array:
    """Return the samples as three channels from 0 to 1."""
    from cxr_edge.images import read_image
    from cxr_edge.model.preprocess import preprocess

    grey = np.stack([preprocess(read_image(path).pixels, (side, side)) for path in sorted(SAMPLES.glob("*.png"))])
    return np.stack([grey / np.float32(255)] * 3, axis=-1 if channels_last else 1)


def _of_keras() -> Iterator[Subject]:
    import keras
    import tensorflow as tf
    import tf2onnx

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    for name, labels, side in (("DenseNet121", 5, 224), ("ResNet50", 16, 320), ("EfficientNetV2B0", 5, 224)):
        keras.utils.set_random_seed(0)
        backbone = getattr(keras.applications, name)(include_top=False, weights=None, input_shape=(side, side, 3))
        white = 255.0 if name.startswith("Efficient") else 1.0
        for layer in backbone.layers:
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.momentum = 0.0
        backbone(_radiographs(side, channels_last=True) * np.float32(white), training=True)
        pooled = keras.layers.GlobalAveragePooling2D()(backbone.output)
        network = keras.Model(backbone.input, keras.layers.Dense(labels, activation="sigmoid")(pooled))
        signature = [tf.TensorSpec([None, side, side, 3], tf.float32, name="image")]
        graph, _ = tf2onnx.convert.from_keras(network, input_signature=signature, opset=17)
        traced = tf.function(lambda x, network=network: network(x, training=False), jit_compile=True)
        yield Subject(
            f"Keras, {name}",
            labels,
            side,
            3,
            0.0,
            white,
            graph,
            lambda x, network=network: np.asarray(network(x, training=False)),  # type: ignore[misc]
            lambda x, traced=traced: np.asarray(traced(x)),  # type: ignore[misc]
        )


def _of_torch() -> Iterator[Subject]:
    import torch
    import torchvision
    import torchxrayvision

    torch.set_num_threads(1)
    made = {
        "torchvision, resnet18": (lambda: torchvision.models.resnet18(num_classes=5), 5, 3, 0.0, 1.0),
        "torchvision, mobilenet_v3_large": (
            lambda: torchvision.models.mobilenet_v3_large(num_classes=16), 16, 3, 0.0, 1.0,
        ),
        "torchxrayvision, DenseNet121": (
            lambda: torchxrayvision.models.DenseNet(weights=None, num_classes=18), 18, 1, -1024.0, 1024.0,
        ),
    }  # fmt: skip
    for name, (make, labels, channels, black, white) in made.items():
        torch.manual_seed(0)
        network, side = torch.nn.Sequential(make(), torch.nn.Sigmoid()), 224
        shown = _radiographs(side, channels_last=False)[:, :channels]
        inputs = torch.from_numpy((black + shown * (white - black)).astype(np.float32))
        for layer in network.modules():
            if isinstance(layer, torch.nn.BatchNorm2d):
                layer.momentum = 1.0
        with torch.no_grad():
            network.train()(inputs)
        network.eval()
        with tempfile.TemporaryDirectory() as scratch:
            exported = torch.onnx.export(
                network, (inputs[:2],), dynamo=True, opset_version=18, input_names=["image"], external_data=False,
                dynamic_shapes=({0: torch.export.Dim("N", min=1, max=64)},), verbose=False,
            )  # fmt: skip
            exported.save(str(Path(scratch, "model.onnx")))
            graph = onnx.load(str(Path(scratch, "model.onnx")))
        compiled = torch.compile(network)
        yield Subject(
            name, labels, side, channels, black, white, graph,
            lambda x, network=network: _no_grad(network, x),  # type: ignore[misc]
            lambda x, compiled=compiled: _no_grad(compiled, x),  # type: ignore[misc]
        )  # fmt: skip


def _no_grad(network: Any, x: Array) -> Array:
    import torch

    with torch.no_grad():
        return np.asarray(network(torch.from_numpy(np.ascontiguousarray(x))).numpy())


#: Name → what yields its networks.
FRAMEWORKS: Final = {"Keras": _of_keras, "PyTorch": _of_torch}


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    typer.run(main)
