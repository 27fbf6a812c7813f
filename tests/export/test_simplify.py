"""What is simplified computes the same, and what may not be simplified stays."""

from collections import Counter

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from cxr_edge.backends import open_graph
from export.network_graph import finished
from export.simplify import simplify

SIDE = 32


def network(offsets: tuple[float, float, float], curve: str = "Identity") -> onnx.ModelProto:
    """Grey to three channels, scaled; a convolution; a squeezed mean; a convolution of it."""
    rng = np.random.default_rng(0)
    constants = {
        "axis": np.array([1], np.int64),
        "spatial": np.array([2, 3], np.int64),
        "scale": np.float32(1 / 255),
        "offsets": np.float32(offsets).reshape(1, 3, 1, 1),
        "kernel": rng.normal(size=(8, 3, 3, 3)).astype(np.float32),
        "shape": np.array([-1, 8, 1, 1], np.int64),
        "gate": rng.normal(size=(4, 8, 1, 1)).astype(np.float32),
    }
    nodes = [
        helper.make_node("Cast", ["image"], ["cast"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["cast", "axis"], ["grey"]),
        helper.make_node("Concat", ["grey", "grey", "grey"], ["colour"], axis=1),
        helper.make_node("Mul", ["colour", "scale"], ["scaled"]),
        helper.make_node("Add", ["scaled", "offsets"], ["shifted"]),
        helper.make_node(curve, ["shifted"], ["shown"]),
        helper.make_node("Conv", ["shown", "kernel"], ["features"], strides=[2, 2], pads=[1, 1, 1, 1]),
        helper.make_node("GlobalAveragePool", ["features"], ["pooled"]),
        helper.make_node("Squeeze", ["pooled", "spatial"], ["flat"]),
        helper.make_node("Reshape", ["flat", "shape"], ["restored"]),
        helper.make_node("Conv", ["restored", "gate"], ["out"]),
    ]
    graph = helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["N", SIDE, SIDE])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, ["N", 4, 1, 1])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    return finished(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8))


def answers(model: onnx.ModelProto) -> np.ndarray:
    images = np.random.default_rng(1).integers(0, 256, (3, SIDE, SIDE), np.uint8)
    (out,) = open_graph(model.SerializeToString()).run(["out"], {"image": images})
    return out


def kinds(model: onnx.ModelProto) -> Counter[str]:
    return Counter(node.op_type for node in model.graph.node)


def test_grey_stays_one_channel_and_answers_stay():
    model = network((-0.5, -0.5, -0.5))
    expected = answers(model)
    simple = finished(simplify(model))
    np.testing.assert_allclose(answers(simple), expected, atol=1e-5)
    assert kinds(simple) == Counter(["Unsqueeze", "Cast", "Sub", "Mul", "Conv", "GlobalAveragePool", "Conv"])
    (stem, _) = (node for node in simple.graph.node if node.op_type == "Conv")
    (kernel,) = (i for i in simple.graph.initializer if i.name == stem.input[1])
    assert list(kernel.dims) == [8, 1, 3, 3]


@pytest.mark.parametrize(("offsets", "curve"), [((-0.5, -0.4, -0.5), "Identity"), ((-0.5, -0.5, -0.5), "Sin")])
def test_channels_that_differ_or_are_not_a_line_stay(offsets, curve):
    model = network(offsets, curve)
    expected = answers(model)
    simple = finished(simplify(model))
    np.testing.assert_array_equal(answers(simple), expected)
    assert kinds(simple)["Concat"] == 1
    assert kinds(simple)["Squeeze"] == kinds(simple)["Reshape"] == 0
