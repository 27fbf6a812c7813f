"""Graphs that baselines run, exported once from the Keras model before anything is timed."""

from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from benchmarks.baselines import KERAS_MODEL, SIDE


class _Export:
    """An export in the form of a baseline: its run writes a graph."""

    work = 1
    settings: dict[str, Any] = {}  # noqa: RUF012

    def __init__(self, images: list[str], out: str) -> None:  # noqa: ARG002 - every baseline takes images
        self._out = out


class PlainOnnx(_Export):
    """The Keras model from its three colour channels on, exported by tf2onnx."""

    def run(self) -> None:
        """Write the graph."""
        import tf2onnx

        network = keras.models.load_model(KERAS_MODEL, compile=False)
        colour = keras.Model(network.get_layer("grey_to_rgb").output, network.output)
        signature = [tf.TensorSpec((None, SIDE, SIDE, 3), tf.float32, name="image")]
        tf2onnx.convert.from_keras(colour, input_signature=signature, opset=17, output_path=self._out)


class LiteRT(_Export):
    """The Keras model in float32, exported by TensorFlow's converter."""

    def run(self) -> None:
        """Write the flat buffer."""
        network = keras.models.load_model(KERAS_MODEL, compile=False)
        Path(self._out).write_bytes(tf.lite.TFLiteConverter.from_keras_model(network).convert())
