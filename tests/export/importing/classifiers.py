"""Small ONNX classifiers with random weights, as other frameworks export them: every layout, type and end."""

from dataclasses import dataclass

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper


@dataclass(frozen=True)
class Kind:
    """What distinguishes exported classifiers.

    Attributes
    ----------
    layout : str
        ``NCHW``, ``NHWC`` or ``NHW``.
    channels, side, labels : int
    batch : int or str
    element : int
        ONNX's type of the input.
    end : str
        ``Sigmoid``, ``Softmax``, ``logits``, ``Clip``, which tells nothing, or ``Mean`` of sigmoid and softmax.
    positions : bool
        False: the image is flattened at once, as by a network without features.
    spread : float
        Standard deviation of the last weights: how far answers differ from image to image.
    opset : int
    function : bool
        The first activation is a function of the model's own.
    half : bool
        Weights and arithmetic in half precision.
    """

    layout: str = "NCHW"
    channels: int = 3
    side: int = 64
    labels: int = 4
    batch: int | str = "batch"
    element: int = TensorProto.FLOAT
    end: str = "Sigmoid"
    positions: bool = True
    spread: float = 0.3
    opset: int = 17
    function: bool = False
    half: bool = False


def classifier(kind: Kind) -> ModelProto:
    """Make a classifier: two convolutions, a mean, a matrix; grey levels are expected from 0 to 1."""
    rng = np.random.default_rng(3)
    weights = {
        "k1": rng.normal(0, 0.6, (6, kind.channels, 5, 5)),
        "k2": rng.normal(0, 0.4, (8, 6, 3, 3)),
        "w": rng.normal(0, kind.spread, (8 if kind.positions else kind.channels * kind.side**2, kind.labels)),
        "b": rng.normal(0, 0.3, (kind.labels,)),
    }
    if not kind.positions:
        weights["w"] /= kind.side
    nodes = [
        helper.make_node("Cast", ["pixels"], ["values"], to=TensorProto.FLOAT16 if kind.half else TensorProto.FLOAT)
    ]
    first = "values"
    if kind.element == TensorProto.UINT8:
        weights["scale"] = np.array(1 / 255)
        nodes.append(helper.make_node("Mul", ["values", "scale"], [first := "scaled"]))
    if kind.layout == "NHWC":
        nodes.append(helper.make_node("Transpose", [first], ["first"], perm=[0, 3, 1, 2]))
    elif kind.layout == "NHW":
        nodes.append(helper.make_node("Unsqueeze", [first, "axis"], ["first"]))
    else:
        nodes.append(helper.make_node("Identity", [first], ["first"]))
    if kind.positions:
        nodes += [
            helper.make_node("Conv", ["first", "k1"], ["c1"], strides=[4, 4], pads=[2, 2, 2, 2]),
            helper.make_node("Act", ["c1"], ["r1"], domain="own")
            if kind.function
            else helper.make_node("Relu", ["c1"], ["r1"]),
            helper.make_node("Conv", ["r1", "k2"], ["c2"], strides=[2, 2], pads=[1, 1, 1, 1]),
            helper.make_node("Relu", ["c2"], ["r2"]),
            helper.make_node("GlobalAveragePool", ["r2"], ["pooled"]),
            helper.make_node("Flatten", ["pooled"], ["flat"]),
        ]
    else:
        nodes.append(helper.make_node("Flatten", ["first"], ["flat"]))
    nodes.append(helper.make_node("Gemm", ["flat", "w", "b"], ["sums"]))
    nodes.append(helper.make_node("Cast", ["sums"], ["scores"], to=TensorProto.FLOAT))
    nodes += _end(kind.end)
    shape = {"NCHW": [kind.channels, kind.side, kind.side], "NHWC": [kind.side, kind.side, kind.channels],
             "NHW": [kind.side, kind.side]}[kind.layout]  # fmt: skip
    dtype = np.float16 if kind.half else np.float32
    constants = [numpy_helper.from_array(value.astype(dtype), name) for name, value in weights.items()]
    constants += [numpy_helper.from_array(np.array([1], np.int64), "axis")]
    if kind.end == "Mean":
        constants += [numpy_helper.from_array(np.float32(0.5), "half")]
    if kind.end == "Clip":
        constants += [numpy_helper.from_array(np.float32(edge), name) for name, edge in (("low", 0.0), ("high", 1.0))]
    graph = helper.make_graph(
        nodes,
        "classifier",
        [helper.make_tensor_value_info("pixels", kind.element, [kind.batch, *shape])],
        [helper.make_tensor_value_info("answer", TensorProto.FLOAT, [kind.batch, kind.labels])],
        constants,
    )
    opsets = [helper.make_opsetid("", kind.opset), *([helper.make_opsetid("own", 1)] if kind.function else [])]
    act = helper.make_function(
        "own", "Act", ["x"], ["y"], [helper.make_node("Relu", ["x"], ["y"])], [helper.make_opsetid("", kind.opset)]
    )
    return helper.make_model(graph, opset_imports=opsets, ir_version=8, functions=[act] if kind.function else [])


def _end(end: str) -> list[NodeProto]:
    if end == "logits":
        return [helper.make_node("Identity", ["scores"], ["answer"])]
    if end == "Softmax":
        return [helper.make_node("Softmax", ["scores"], ["answer"], axis=1)]
    if end == "Mean":
        return [
            helper.make_node("Sigmoid", ["scores"], ["by label"]),
            helper.make_node("Softmax", ["scores"], ["exclusive"], axis=1),
            helper.make_node("Mul", ["by label", "half"], ["one"]),
            helper.make_node("Mul", ["exclusive", "half"], ["other"]),
            helper.make_node("Add", ["one", "other"], ["answer"]),
        ]
    return [helper.make_node(end, ["scores", "low", "high"] if end == "Clip" else ["scores"], ["answer"])]
