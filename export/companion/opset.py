"""Any opset to the one that companions are written in."""

from collections.abc import Mapping
from typing import Final

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, helper, numpy_helper, version_converter

from export.companion.nodes import IR_VERSION, OPSET, Array, attributes_of
from export.errors import NoCompanion

#: Take their axes from an input since opset 18, from an attribute before.
_REDUCTIONS: Final = frozenset(
    f"Reduce{what}" for what in ("L1", "L2", "LogSum", "LogSumExp", "Max", "Mean", "Min", "Prod", "SumSquare")
)


def at_opset(model: ModelProto, opset: int) -> ModelProto:
    """Write a graph in `OPSET`.

    Parameters
    ----------
    model : ModelProto
        Its constants are initializers.
    opset : int
        The one that it is written in.

    Raises
    ------
    NoCompanion
        An operator has no counterpart in `OPSET`.
    """
    try:
        converted = _older(model) if opset > OPSET else version_converter.convert_version(model, OPSET)
        onnx.checker.check_model(converted, full_check=True)
    except (RuntimeError, onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        reason = str(error).splitlines()[0]
        raise NoCompanion(
            f"the head cannot be written in opset {OPSET} ({reason}); export the model to ONNX with opset {OPSET}"
        ) from error
    return converted


def _older(model: ModelProto) -> ModelProto:
    """Write a graph of a later opset; onnx's own converter knows no way back for several operators."""
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    nodes = [_older_node(node, constants) for node in model.graph.node]
    graph = helper.make_graph(nodes, model.graph.name, model.graph.input, model.graph.output, model.graph.initializer)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)


def _older_node(node: NodeProto, constants: Mapping[str, Array]) -> NodeProto:
    attributes = attributes_of(node)
    inputs = list(node.input)
    if node.op_type in _REDUCTIONS and len(inputs) > 1:
        # With noop_with_empty_axes the later definition may reduce nothing; no exporter writes that.
        axes = constants.get(inputs.pop(), np.array([]))
        attributes.pop("noop_with_empty_axes", None)
        attributes |= {"axes": axes.tolist()} if axes.size else {}
    elif node.op_type == "Split":
        attributes.pop("num_outputs", None)
    return helper.make_node(node.op_type, inputs, node.output, node.name, **attributes)
