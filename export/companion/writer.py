"""Writing of ONNX nodes: the shape of each result is inferred, and what is constant is computed at once."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import onnx
from onnx import NodeProto, TensorProto, TypeProto, ValueInfoProto, helper, numpy_helper

from export.companion.nodes import OPSET, Array, evaluate
from export.errors import NoCompanion

#: Lengths of the axes of a tensor; None where one is not known before it runs.
Shape: TypeAlias = tuple[int | None, ...]


#: Entries of a constant that a shape may follow from.
_SMALL = 16


class Writer:
    """Collects nodes and constants of a graph; every call returns the name of the tensor it made.

    The same node is written once, however often it is asked for.

    Parameters
    ----------
    nodes : sequence of NodeProto
        What the graph begins with.
    types : mapping of str to TypeProto
        Element type and shape of each tensor that the first nodes read or make.
    constants : mapping of str to ndarray
        Those that they read.
    """

    def __init__(
        self, nodes: Sequence[NodeProto], types: Mapping[str, TypeProto], constants: Mapping[str, Array]
    ) -> None:
        self._nodes = list(nodes)
        self._types = dict(types)
        self._values: dict[str, Array] = {}
        self._made: dict[Any, str] = {}
        for name, value in constants.items():
            self._keep(name, value)

    def op(self, operator: str, *inputs: str, **attributes: Any) -> str:
        """Write a node with one output."""
        key = (operator, inputs, str(sorted(attributes.items())))
        if key not in self._made:
            self._made[key] = self._write(operator, inputs, attributes)
        return self._made[key]

    def one_for_zero(self, divisor: str) -> str:
        """Replace zeros, where a derivative has no value, by ones: what is not a number would spoil all of a map."""
        return self.op("Where", self.op("Equal", divisor, self.constant(0)), self.constant(1), divisor)

    def constant(self, value: npt.ArrayLike, dtype: npt.DTypeLike = np.float32) -> str:
        """Add a constant."""
        array = np.ascontiguousarray(np.asarray(value, dtype)).reshape(np.shape(value))
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self._made:
            self._made[key] = self._keep(self._new_name("constant"), array)
        return self._made[key]

    def integers(self, *values: int) -> str:
        """Add a constant that names axes, or the lengths of a shape."""
        return self.constant(values, np.int64)

    def shape(self, name: str) -> Shape:
        """Return the lengths of a tensor's axes.

        Raises
        ------
        NoCompanion
            How many axes it has is not known before the graph runs.
        """
        if name not in self._types:
            raise NoCompanion(f"the shape of {name!r} is not known; export the model to ONNX for a fixed size of image")
        dimensions = self._types[name].tensor_type.shape.dim
        return tuple(d.dim_value if d.HasField("dim_value") else None for d in dimensions)

    def value(self, name: str) -> Array | None:
        """Return the value of a constant; None for what is computed when the graph runs."""
        return self._values.get(name)

    def finished(self, source: ValueInfoProto, results: Sequence[ValueInfoProto]) -> onnx.GraphProto:
        """Return the graph from one input to some outputs, without what they do not need."""
        needed, kept = {result.name for result in results}, []
        for node in reversed(self._nodes):
            if needed.intersection(node.output):
                kept.append(node)
                needed.update(node.input)
        made = {name for node in kept for name in node.output}
        weights = [
            numpy_helper.from_array(value, name)
            for name, value in self._values.items()
            if name in needed and name not in made
        ]
        return helper.make_graph(kept[::-1], "companion", [source], results, weights)

    def expose(self, tensor: str, output: str) -> None:
        """Make a tensor an output of the graph."""
        self._nodes.append(helper.make_node("Identity", [tensor], [output]))

    def _write(self, operator: str, inputs: Sequence[str], attributes: Mapping[str, Any]) -> str:
        output = self._new_name(operator)
        node = helper.make_node(operator, inputs, [output], **attributes)
        values = [self._values.get(name) for name in inputs]
        constants = [value for value in values if value is not None]
        if len(constants) == len(values):
            self._keep(output, evaluate(node, values)[0])
            # A transposed weight beside the weight itself would double the file.
            if operator == "Transpose":
                self._nodes.append(node)
            return output
        self._nodes.append(node)
        self._types[output] = self._inferred(node)
        return output

    def _inferred(self, node: NodeProto) -> TypeProto:
        inputs = [name for name in node.input if name]
        known = {name: self._values[name] for name in inputs if name in self._values}
        return onnx.shape_inference.infer_node_outputs(
            onnx.defs.get_schema(node.op_type, OPSET),
            node,
            {name: self._types[name] for name in inputs},
            # What a shape may follow from: axes, lengths, the scales of a Resize.
            {name: numpy_helper.from_array(value) for name, value in known.items() if value.size <= _SMALL},
            opset_imports=[helper.make_opsetid("", OPSET)],
        )[node.output[0]]

    def _keep(self, name: str, value: Array) -> str:
        self._values[name] = value
        self._types[name] = helper.make_tensor_type_proto(helper.np_dtype_to_tensor_dtype(value.dtype), value.shape)
        return name

    def _new_name(self, stem: str) -> str:
        return f"companion/{stem}_{len(self._made)}"


def described(name: str, shape: Sequence[int | str | None]) -> ValueInfoProto:
    """Describe a float32 input or output of a graph."""
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
