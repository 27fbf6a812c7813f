"""What is read of ONNX: the attributes of a node, what it computes from constants, the types of tensors."""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import onnx
from onnx import ModelProto, NodeProto, TensorProto, TypeProto, helper
from onnx.reference import ReferenceEvaluator

from export.errors import NoCompanion

#: Of companion graphs; TensorRT 10 and OpenVINO read it whole.
OPSET: Final = 17
#: Of the file format that this opset came with.
IR_VERSION: Final = 8

Array = npt.NDArray[Any]


def attributes_of(node: NodeProto) -> dict[str, Any]:
    """Return a node's attributes, strings decoded."""
    read = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
    return {name: value.decode() if isinstance(value, bytes) else value for name, value in read.items()}


def evaluate(node: NodeProto, inputs: Sequence[Array | None], opset: int = OPSET) -> list[Array]:
    """Compute a node's outputs by ONNX's reference implementation.

    Parameters
    ----------
    node : NodeProto
    inputs : sequence of ndarray or None
        Its inputs in their order; None where an optional one is left out.
    opset : int
        Whose definition of the operator holds.
    """
    feeds = {name: value for name, value in zip(node.input, inputs, strict=True) if value is not None}
    graph = helper.make_graph(
        [node],
        node.op_type,
        [_described(name, helper.np_dtype_to_tensor_dtype(value.dtype)) for name, value in feeds.items()],
        [_described(name, TensorProto.UNDEFINED) for name in node.output if name],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid(node.domain, opset)], ir_version=IR_VERSION)
    return [np.asarray(value) for value in ReferenceEvaluator(model).run(None, feeds)]


def infer_types(model: ModelProto) -> dict[str, TypeProto]:
    """Return the element type and shape of every tensor of a model, as far as they can be inferred.

    Raises
    ------
    NoCompanion
        The model contradicts itself.
    """
    try:
        graph = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True).graph
    except onnx.shape_inference.InferenceError as error:
        raise NoCompanion(f"the shapes of the model do not fit ({error}); export it to ONNX again") from error
    return {value.name: value.type for value in (*graph.value_info, *graph.input, *graph.output)}


def lengths_of(model: ModelProto) -> dict[str, list[int]]:
    """Return the lengths of every tensor's axes, 0 where one is unknown."""
    return {name: [d.dim_value for d in t.tensor_type.shape.dim] for name, t in infer_types(model).items()}


def batch_of(model: ModelProto) -> int | str:
    """Return the length of the batch of a model's input, or its name where it is open."""
    batch = model.graph.input[0].type.tensor_type.shape.dim[0]
    return int(batch.dim_value) or str(batch.dim_param)


def _described(name: str, dtype: int) -> Any:
    return helper.make_tensor_value_info(name, dtype, None)
