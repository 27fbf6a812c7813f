"""The classifier as ONNX: uint8 image in; probabilities, logits and the last convolution out."""

import copy

import keras
import onnx
import onnx.compose
import onnxslim
import tensorflow as tf
import tf2onnx
from onnx import ModelProto

from export.errors import ExportError
from export.simplify import simplify
from export.tensors import OPSET, TENSORS
from training.network.architecture import LOGITS, PROBABILITIES, last_convolution


def network_graph(network: keras.Model) -> ModelProto:
    """Convert the whole trained model.

    Parameters
    ----------
    network : keras.Model
        float32; as `training.network.architecture.build_network` describes it.

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
    channels_last = keras.ops.expand_dims(keras.ops.cast(image, "float32"), -1)
    last_conv = last_convolution(network).output
    backbone = keras.Model(image, keras.Model(network.input, last_conv)(channels_last))
    head = keras.Model(last_conv, [network.get_layer(name).output for name in (PROBABILITIES, LOGITS)])
    return _joined(
        _converted(backbone, TENSORS.image, [TENSORS.features]),
        _converted(head, TENSORS.features, [TENSORS.probabilities, TENSORS.logits]),
    )


def finished(model: ModelProto) -> ModelProto:
    """Strip what depends on the machine, and check the whole model."""
    model.doc_string = ""
    model.producer_name, model.producer_version = "cxr-edge", ""
    del model.opset_import[:]
    model.opset_import.append(onnx.helper.make_opsetid("", OPSET))
    onnx.checker.check_model(model, full_check=True)
    return model


def _converted(part: keras.Model, input_name: str, output_names: list[str]) -> ModelProto:
    """Convert one part, slim it, and name its ends."""
    (tensor,) = part.inputs
    signature = [tf.TensorSpec(tensor.shape, tensor.dtype, name=input_name)]
    converted, _ = tf2onnx.convert.from_keras(part, input_signature=signature, opset=OPSET)
    if [i.name for i in converted.graph.input] != [input_name]:
        raise ExportError(f"expected the one input {input_name!r}, got {[i.name for i in converted.graph.input]}")
    outputs = [output.name for output in converted.graph.output]
    _rename(converted, dict(zip(outputs, output_names, strict=True)))
    slim: ModelProto = onnxslim.slim(converted)
    return slim


def _joined(backbone: ModelProto, head: ModelProto) -> ModelProto:
    """Join the parts at the last convolution, and make it an output.

    Converted as one, the pooling would read the convolution before its transposition to channels
    last, and ``last_conv`` would be a branch beside the path to the logits.
    """
    joined = onnx.compose.merge_models(
        backbone, head, io_map=[(TENSORS.features, TENSORS.features)], prefix1="backbone/", prefix2="head/"
    )
    exposed = copy.deepcopy(backbone.graph.output[0])
    exposed.name = f"backbone/{TENSORS.features}"
    joined.graph.output.append(exposed)
    ends = (*joined.graph.input, *joined.graph.output)
    for value in ends:
        value.type.tensor_type.shape.dim[0].dim_param = "N"
    _rename(joined, {value.name: value.name.split("/", 1)[1] for value in ends})
    return finished(simplify(joined))


def _rename(model: ModelProto, names: dict[str, str]) -> None:
    for value in (*model.graph.input, *model.graph.output):
        value.name = names.get(value.name, value.name)
    for node in model.graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
