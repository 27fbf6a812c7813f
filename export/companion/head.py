"""The head of a network: what lies between its features and its logits."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, TypeProto, ValueInfoProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from export.companion.nodes import IR_VERSION, OPSET, Array, attributes_of, evaluate, infer_types
from export.companion.opset import at_opset
from export.companion.tokens import keep_tokens_apart
from export.errors import NoCompanion

#: What follows from a tensor by these has no gradient: shapes, comparisons, positions.
_FLAT: Final = frozenset(
    {"And", "ArgMax", "ArgMin", "Ceil", "Equal", "Floor", "Greater", "GreaterOrEqual", "Less", "LessOrEqual"}
    | {"Not", "Or", "Round", "Shape", "Sign", "Size"}
)

#: Images of a run that shows the shapes of a head.
_BATCH: Final = 2


@dataclass(frozen=True)
class Head:
    """A network from its features on.

    Attributes
    ----------
    model : ModelProto
        features → logits, in opset 17; its constants are initializers.
    types : dict of str to TypeProto
        Element type and shape of every tensor.
    constants : dict of str to ndarray
    active : frozenset of str
        Tensors that change with the features, and have a gradient.
    """

    model: ModelProto
    types: dict[str, TypeProto]
    constants: dict[str, Array]
    active: frozenset[str]

    @property
    def features(self) -> str:
        """Name of the tensor that the head begins with."""
        return str(self.model.graph.input[0].name)

    @property
    def logits(self) -> str:
        """Name of the tensor that it ends with."""
        return str(self.model.graph.output[0].name)


def cut_head(model: ModelProto, features: str, logits: str) -> Head:
    """Cut a network at its features.

    Raises
    ------
    NoCompanion
        There is no such tensor, or the logits depend on more than the features.
    """
    opset = next(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    nodes = list(_without_constants(needed_nodes(model, features, logits), constants, opset))
    _require_a_cut(model, nodes, constants, features, logits)
    nodes = _in_single_precision(nodes, constants)
    types = infer_types(model)
    ends = _described(features, types), _described(logits, types)
    converted = at_opset(_assembled(nodes, constants, ends, opset), opset)
    # The conversion of an earlier opset writes nodes for what were attributes.
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in converted.graph.initializer}
    nodes = list(_without_constants(list(converted.graph.node), constants, OPSET))
    head = _assembled(nodes, constants, ends, OPSET)
    keep_tokens_apart(head)
    return _typed(head, constants)


def needed_nodes(model: ModelProto, features: str, logits: str) -> list[NodeProto]:
    """Return the nodes that compute the logits, in order, from the features on or beside them.

    Raises
    ------
    NoCompanion
        The model makes no tensor of one of these names.
    """
    made = {name for node in model.graph.node for name in node.output} | {i.name for i in model.graph.input}
    for name in (features, logits):
        if name not in made:
            raise NoCompanion(f"the model has no tensor {name!r}; name one that it computes")
    needed, nodes = {logits}, []
    for node in reversed(model.graph.node):
        if (needed - {features}).intersection(node.output):
            nodes.append(node)
            needed.update(_inputs(node))
    return nodes[::-1]


def _inputs(node: NodeProto) -> list[str]:
    return [name for name in node.input if name]


def _without_constants(nodes: list[NodeProto], constants: dict[str, Array], opset: int) -> Iterator[NodeProto]:
    """Compute the nodes that depend on constants alone, and add their results to the constants; pass on the others."""
    for node in nodes:
        if node.op_type == "Constant" or (node.input and all(name in constants for name in _inputs(node))):
            values = evaluate(node, [constants.get(name) for name in node.input], opset)
            constants.update(zip(node.output, values, strict=True))
        else:
            yield node


def _in_single_precision(nodes: list[NodeProto], constants: dict[str, Array]) -> list[NodeProto]:
    """Return nodes of half precision in single precision, in which they are differentiated."""
    half = {name: value.astype(np.float32) for name, value in constants.items() if value.dtype == np.float16}
    constants.update(half)
    return [
        helper.make_node("Cast", node.input, node.output, node.name, to=TensorProto.FLOAT)
        if node.op_type == "Cast" and attributes_of(node)["to"] == TensorProto.FLOAT16
        else node
        for node in nodes
    ]


def content_of(model: ModelProto) -> set[str]:
    """Return the tensors that follow from what the image shows, and not from its lengths alone."""
    shown = {model.graph.input[0].name}
    for node in model.graph.node:
        if node.op_type not in ("Shape", "Size") and shown.intersection(node.input):
            shown.update(node.output)
    return shown


def _require_a_cut(
    model: ModelProto, nodes: list[NodeProto], constants: Mapping[str, Array], features: str, logits: str
) -> None:
    """Raise `NoCompanion` where the logits do not depend on the features, or on other tensors besides."""
    behind = {features}
    for node in nodes:
        if behind.intersection(node.input):
            behind.update(node.output)
    if logits not in behind:
        raise NoCompanion(f"{logits!r} do not depend on {features!r}; name a tensor on the way to them")
    beside = {
        name: node.op_type
        for node in nodes
        if behind.intersection(node.output)
        for name in _inputs(node)
        if name not in behind and name not in constants
    }
    if beside and not content_of(model).intersection(beside):
        readers = ", ".join(sorted(set(beside.values())))
        raise NoCompanion(
            f"{readers} between {features!r} and {logits!r} takes indices that are counted from the length of the "
            "batch, as some exporters write views of memory (PyTorch's as_strided): export the model by another one, "
            "such as torch.onnx.export with dynamo=False"
        )
    if beside:
        others = ", ".join(f"{name!r} (an input of {reader})" for name, reader in beside.items())
        raise NoCompanion(
            f"{logits!r} depend on {features!r} and on {others} besides; name features that all ways to them pass"
        )


def _described(name: str, types: Mapping[str, TypeProto]) -> ValueInfoProto:
    """Describe a tensor as an input or output; a batch of unknown length is named N."""
    tensor = types[name].tensor_type if name in types else TypeProto.Tensor()
    if tensor.elem_type != TensorProto.FLOAT:
        raise NoCompanion(f"{name!r}: expected a float32 tensor of known shape; export the model to ONNX in float32")
    shape = [d.dim_value if d.HasField("dim_value") else None for d in tensor.shape.dim]
    if len(shape) < 2 or None in shape[1:]:
        raise NoCompanion(
            f"{name!r}: expected known lengths after the batch's, got {shape}; export the model for images of one size"
        )
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, [shape[0] or "N", *shape[1:]])


def _assembled(
    nodes: list[NodeProto], constants: Mapping[str, Array], ends: tuple[ValueInfoProto, ValueInfoProto], opset: int
) -> ModelProto:
    """Put nodes between features and logits, with the constants that they read."""
    read = {name for node in nodes for name in node.input}
    weights = [numpy_helper.from_array(value, name) for name, value in constants.items() if name in read]
    graph = helper.make_graph(nodes, "head", ends[:1], ends[1:], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=IR_VERSION)


def _typed(model: ModelProto, constants: dict[str, Array]) -> Head:
    """Add the types of all tensors, and which of them have a gradient."""
    active = {model.graph.input[0].name}
    for node in model.graph.node:
        if node.op_type not in _FLAT and active.intersection(node.input) and not _is_whole(node):
            active.update(node.output)
    types = infer_types(model)
    if not all(name in types and _is_known(types[name]) for name in active):
        _measure(model, types)
    return Head(model, types, constants, frozenset(active))


def _is_known(tensor: TypeProto) -> bool:
    """Return whether a type states all lengths but the batch's."""
    shape = tensor.tensor_type.shape
    return tensor.tensor_type.HasField("shape") and all(d.HasField("dim_value") for d in shape.dim[1:])


def _measure(model: ModelProto, types: dict[str, TypeProto]) -> None:
    """Run a head to see the lengths that inference leaves open, as where an exporter computes them from others."""
    source = model.graph.input[0]
    batch, *lengths = (d.dim_value for d in source.type.tensor_type.shape.dim)
    features = np.random.default_rng(0).random((batch or _BATCH, *lengths), np.float32)
    found: Any = ReferenceEvaluator(model).run(None, {source.name: features}, intermediate=True)
    for name, value in found.items():
        shape = np.shape(value)
        seen = ["N", *shape[1:]] if shape and not batch else shape
        element = types[name].tensor_type.elem_type if name in types else TensorProto.FLOAT
        types[name] = helper.make_tensor_type_proto(element, seen)


def _is_whole(node: NodeProto) -> bool:
    """Return whether a node casts to integers or truth values."""
    floats = (TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16)
    return node.op_type == "Cast" and attributes_of(node)["to"] not in floats
