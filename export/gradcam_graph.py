"""Grad-CAM as ONNX: from the last convolution's output to the maps of all labels in one pass.

The head is global average pooling and dense layers, so ∂logit_c/∂A is the same at every position
and has a closed form: backwards through each dense layer, and through each ReLU by the sign of
its input. For h x w positions, α_c = (1/hw) W1 diag(z1 > 0) W2 diag(z2 > 0) … w_c, and
maps_c = ReLU(Σ_k α_ck A_k), as Selvaraju et al. 2017 define Grad-CAM.
"""

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from export.errors import ExportError
from export.network_graph import OPSET, TENSORS, finished
from training.network.architecture import LAST_CONVOLUTION, LOGITS


@dataclass(frozen=True)
class Dense:
    """A dense layer's kernel (in, out) and bias (out,)."""

    kernel: npt.NDArray[np.float32]
    bias: npt.NDArray[np.float32]


def read_head(network: keras.Model) -> list[Dense]:
    """Read the dense layers between the last convolution and the logits.

    Raises
    ------
    ExportError
        The head is not pooling, dense layers with ReLU, and a linear last one.
    """
    names = [layer.name for layer in network.layers]
    head = network.layers[names.index(LAST_CONVOLUTION) + 1 : names.index(LOGITS) + 1]
    pooling, *rest = [layer for layer in head if not isinstance(layer, keras.layers.Dropout)]
    if not isinstance(pooling, keras.layers.GlobalAveragePooling2D):
        raise ExportError(f"expected global average pooling after {LAST_CONVOLUTION}, got {type(pooling).__name__}")
    expected = ["relu"] * (len(rest) - 1) + ["linear"]
    found = [
        layer.activation.__name__ if isinstance(layer, keras.layers.Dense) else type(layer).__name__ for layer in rest
    ]
    if found != expected:
        raise ExportError(f"expected dense layers with activations {expected} after the pooling, got {found}")
    return [Dense(*layer.get_weights()) for layer in rest]


def gradcam_graph(head: list[Dense], positions: tuple[int, int]) -> ModelProto:
    """Build the companion graph.

    Parameters
    ----------
    head : list of Dense
        As `read_head` returns it; the last one computes the logits.
    positions : (int, int)
        Height and width of the last convolution's output.

    Returns
    -------
    onnx.ModelProto
        last_conv (N, h, w, K) float32 → maps (N, C, h, w) float32, not normalised.
    """
    height, width = positions
    channels, labels = head[0].kernel.shape[0], head[-1].kernel.shape[1]
    build = _Builder()
    gradient = build.constant("logits_kernel", head[-1].kernel.T[np.newaxis])
    pooled = build.node("ReduceMean", [TENSORS.features], "pooled", axes=[1, 2], keepdims=0)
    masks = _masks(build, pooled, head[:-1])
    for index in reversed(range(len(masks))):
        masked = build.node("Mul", [gradient, masks[index]], f"masked_{index}")
        backwards = build.node("Transpose", [f"kernel_{index}"], f"kernel_transposed_{index}", perm=[1, 0])
        gradient = build.node("MatMul", [masked, backwards], f"gradient_{index}")
    alpha = build.node("Mul", [gradient, build.constant("per_position", np.float32(1 / (height * width)))], "alpha")
    flat = build.node("Reshape", [TENSORS.features, build.shape("flat_shape", 0, height * width, channels)], "flat")
    by_channel = build.node("Transpose", [flat], "by_channel", perm=[0, 2, 1])
    weighted = build.node("Relu", [build.node("MatMul", [alpha, by_channel], "weighted")], "positive")
    build.node("Reshape", [weighted, build.shape("maps_shape", 0, labels, height, width)], TENSORS.maps)
    graph = helper.make_graph(
        build.nodes,
        "gradcam",
        [helper.make_tensor_value_info(TENSORS.features, TensorProto.FLOAT, ["N", height, width, channels])],
        [helper.make_tensor_value_info(TENSORS.maps, TensorProto.FLOAT, ["N", labels, height, width])],
        build.constants,
    )
    return finished(helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8))


def _masks(build: "_Builder", pooled: str, hidden: list[Dense]) -> list[str]:
    """Run the hidden layers forward; return for each where its ReLU passes a gradient, (N, 1, out)."""
    masks, x = [], pooled
    zero, axis = build.constant("zero", np.float32(0)), build.constant("axis", np.array([1], np.int64))
    for index, layer in enumerate(hidden):
        kernel, bias = (build.constant(f"{n}_{index}", v) for n, v in (("kernel", layer.kernel), ("bias", layer.bias)))
        z = build.node("Gemm", [x, kernel, bias], f"z_{index}")
        x = build.node("Relu", [z], f"relu_{index}")
        passes = build.node("Cast", [build.node("Greater", [z, zero], f"passes_{index}")], f"mask_{index}", to=1)
        masks.append(build.node("Unsqueeze", [passes, axis], f"mask_by_label_{index}"))
    return masks


class _Builder:
    """Collects nodes and constants; every call returns the name of the tensor it made."""

    def __init__(self) -> None:
        self.nodes: list[NodeProto] = []
        self.constants: list[TensorProto] = []

    def node(self, operator: str, inputs: list[str], output: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(operator, inputs, [output], **attributes))
        return output

    def constant(self, name: str, value: npt.ArrayLike) -> str:
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def shape(self, name: str, *dimensions: int) -> str:
        """Add the target shape of a Reshape; 0 keeps the batch."""
        return self.constant(name, np.array(dimensions, np.int64))
