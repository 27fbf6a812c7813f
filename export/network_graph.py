"""The classifier as ONNX: uint8 film in; probabilities, logits and the last convolution out."""

from typing import Any

import keras
import onnx
import onnxslim
import tensorflow as tf
import tf2onnx
from onnx import ModelProto

from cxr_edge.manifest import Tensors
from training.network import LAST_CONVOLUTION, LOGITS, PROBABILITIES

#: The newest that tf2onnx writes without extra Transposes, and old enough for TensorRT 10.
OPSET = 17

TENSORS = Tensors(image="image", probabilities="probabilities", logits="logits", last_conv="last_conv", maps="maps")


class ExportError(Exception):
    """The model cannot be exported as it is."""


def to_float32(network: keras.Model) -> keras.Model:
    """Rebuild a model with every layer computing in float32, whatever policy it was trained under.

    Exporting a mixed_float16 model as it is leaves a Cast around every layer; lower precision is
    made from the float32 graph instead.
    """
    config = network.get_config()
    _set_policies(config, "float32")
    rebuilt = type(network).from_config(config)
    rebuilt.set_weights(network.get_weights())
    return rebuilt


def network_graph(network: keras.Model) -> ModelProto:
    """Convert the whole trained model.

    Parameters
    ----------
    network : keras.Model
        float32; as `training.network.build_network` describes it.

    Returns
    -------
    onnx.ModelProto
        image (N, H, W) uint8 → probabilities (N, C), logits (N, C), last_conv (N, h, w, K), all
        float32. ``last_conv`` lies on the path to ``logits``.

    Raises
    ------
    ExportError
        The converter left an input that the model does not have.
    """
    height, width = network.input_shape[1:3]
    image = keras.Input((height, width), dtype="uint8", name=TENSORS.image)
    film = keras.ops.expand_dims(keras.ops.cast(image, "float32"), -1)
    exposed = keras.Model(
        network.input, [network.get_layer(n).output for n in (PROBABILITIES, LOGITS, LAST_CONVOLUTION)]
    )
    wrapped = keras.Model(image, exposed(film))
    signature = [tf.TensorSpec((None, height, width), tf.uint8, name=TENSORS.image)]
    converted, _ = tf2onnx.convert.from_keras(wrapped, input_signature=signature, opset=OPSET)
    if [i.name for i in converted.graph.input] != [TENSORS.image]:
        raise ExportError(f"expected the one input {TENSORS.image!r}, got {[i.name for i in converted.graph.input]}")
    _rename_outputs(converted, [TENSORS.probabilities, TENSORS.logits, TENSORS.last_conv])
    slimmed = onnxslim.slim(converted)
    for value in (*slimmed.graph.input, *slimmed.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "N"
    return finished(slimmed)


def finished(model: ModelProto) -> ModelProto:
    """Strip what depends on the machine, and let the checker look at the whole model."""
    model.doc_string = ""
    model.producer_name, model.producer_version = "cxr-edge", ""
    onnx.checker.check_model(model, full_check=True)
    return model


def _set_policies(config: Any, name: str) -> None:
    if isinstance(config, dict):
        if config.get("class_name") == "DTypePolicy":
            config["config"] = {"name": name}
        for value in config.values():
            _set_policies(value, name)
    elif isinstance(config, list | tuple):
        for value in config:
            _set_policies(value, name)


def _rename_outputs(model: ModelProto, names: list[str]) -> None:
    new_name = {output.name: name for output, name in zip(model.graph.output, names, strict=True)}
    for output in model.graph.output:
        output.name = new_name[output.name]
    for node in model.graph.node:
        node.input[:] = [new_name.get(name, name) for name in node.input]
        node.output[:] = [new_name.get(name, name) for name in node.output]
