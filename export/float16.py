"""The float16 variant of a graph: half precision inside, inputs and outputs unchanged.

A TensorRT network is strongly typed: it computes in the precision that the ONNX file names. Kept
in float32 are the normalisation before the first convolution, whose grey levels need it, and the
final sigmoid. A graph output is float32, and the nodes that read it continue from there, so that
the graph can be cut at its outputs as before.

Convolution kernels are rounded by error diffusion (Floyd and Steinberg 1976), which keeps the sum of
each filter: activations have a mean, and plain rounding multiplies it by the sum of the errors.
"""

import numpy as np
import numpy.typing as npt
import onnx
from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

from export.errors import ExportError

LARGEST = float(np.finfo(np.float16).max)


def to_float16(model: ModelProto) -> ModelProto:
    """Convert a float32 graph.

    Parameters
    ----------
    model : onnx.ModelProto
        Its nodes in topological order, as ONNX demands.

    Returns
    -------
    onnx.ModelProto
        Same inputs and outputs; passes ``onnx.checker`` with full_check.

    Raises
    ------
    ExportError
        A weight is beyond float16; the message names its tensor.
    """
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
    rewriter = _Rewriter(inferred)
    kept = _kept_in_float32(inferred)
    for index, node in enumerate(inferred.graph.node):
        if index in kept:
            rewriter.keep(node)
        else:
            rewriter.halve(node)
    return rewriter.finished()


def emulated(model: ModelProto) -> ModelProto:
    """Write a float16 graph as a float32 graph that rounds every result to float16, as a GPU does.

    ONNX Runtime's CPU keeps values in float32 from one float16 operator to the next: judged by it,
    the float16 graph would look better than it is. Fused operators of a GPU round less often than this.
    """
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
    halves = {v.name for v in inferred.graph.value_info if v.type.tensor_type.elem_type == TensorProto.FLOAT16}
    nodes = []
    for node in inferred.graph.node:
        rounded = [name for name in node.output if name in halves]
        outputs = [f"{name}/exact" if name in halves else name for name in node.output]
        nodes.append(_rewritten(node, list(node.input), outputs, {TensorProto.FLOAT16: TensorProto.FLOAT}))
        for name in rounded:
            nodes += [
                helper.make_node("Cast", [f"{name}/exact"], [f"{name}/rounded"], to=TensorProto.FLOAT16),
                helper.make_node("Cast", [f"{name}/rounded"], [name], to=TensorProto.FLOAT),
            ]
    weights = [
        numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float32), tensor.name)
        if tensor.data_type == TensorProto.FLOAT16
        else tensor
        for tensor in inferred.graph.initializer
    ]
    return _model_like(inferred, nodes, weights)


def _model_like(model: ModelProto, nodes: list[NodeProto], weights: list[TensorProto]) -> ModelProto:
    """Put nodes and weights between the inputs and outputs of a model, and check the whole."""
    graph = helper.make_graph(nodes, model.graph.name, model.graph.input, model.graph.output, weights)
    made = helper.make_model(graph, opset_imports=model.opset_import, ir_version=model.ir_version)
    made.producer_name = model.producer_name
    onnx.checker.check_model(made, full_check=True)
    return made


def _rewritten(node: NodeProto, inputs: list[str], outputs: list[str], casts: dict[int, int]) -> NodeProto:
    """Copy a node to other inputs and outputs, and a Cast to another type."""
    copied = NodeProto()
    copied.CopyFrom(node)
    copied.input[:], copied.output[:] = inputs, outputs
    for attribute in copied.attribute:
        if attribute.name == "to":
            attribute.i = casts.get(attribute.i, attribute.i)
    return copied


def _kept_in_float32(model: ModelProto) -> set[int]:
    """Return the positions of the nodes before the first convolution, and of a sigmoid whose result is an output."""
    nodes = model.graph.node
    outputs = {output.name for output in model.graph.output}
    kept = {i for i, node in enumerate(nodes) if node.op_type == "Sigmoid" and node.output[0] in outputs}
    first = next((node for node in nodes if node.op_type == "Conv"), None)
    needed = {first.input[0]} if first else set()
    for i in reversed(range(len(nodes))):
        if needed.intersection(nodes[i].output):
            kept.add(i)
            needed.update(nodes[i].input)
    return kept


class _Rewriter:
    """Writes nodes anew, and a Cast only where a value crosses between the precisions, once each way."""

    def __init__(self, model: ModelProto) -> None:
        self._model = model
        graph = model.graph
        described: list[ValueInfoProto] = [*graph.value_info, *graph.input, *graph.output]
        self._types = {value.name: value.type.tensor_type.elem_type for value in described}
        self._weights = {tensor.name: tensor for tensor in graph.initializer}
        self._types.update({name: tensor.data_type for name, tensor in self._weights.items()})
        self._outputs = {output.name for output in graph.output}
        self._nodes: list[NodeProto] = []
        self._constants: dict[str, TensorProto] = {}
        self._halves: dict[str, str] = {}
        self._singles = {value.name for value in graph.input}

    def keep(self, node: NodeProto) -> None:
        self._nodes.append(_rewritten(node, [self._single(name) for name in node.input], list(node.output), {}))
        self._singles.update(node.output)

    def halve(self, node: NodeProto) -> None:
        inputs = [self._half(name) if self._is_float(name) else self._single(name) for name in node.input]
        outputs = [_half_name(name) if self._is_float(name) else name for name in node.output]
        self._nodes.append(_rewritten(node, inputs, outputs, {TensorProto.FLOAT: TensorProto.FLOAT16}))
        for name in node.output:
            if not self._is_float(name):
                self._singles.add(name)
            elif name in self._outputs:
                self._cast(_half_name(name), name, TensorProto.FLOAT)
                self._singles.add(name)
            else:
                self._halves[name] = _half_name(name)

    def finished(self) -> ModelProto:
        return _model_like(self._model, self._nodes, list(self._constants.values()))

    def _is_float(self, name: str) -> bool:
        return self._types.get(name) == TensorProto.FLOAT

    def _single(self, name: str) -> str:
        if name in self._weights:
            self._constants[name] = self._weights[name]
        elif name in self._halves and name not in self._singles:
            self._cast(self._halves[name], name, TensorProto.FLOAT)
            self._singles.add(name)
        return name

    def _half(self, name: str) -> str:
        if name in self._halves:
            return self._halves[name]
        half = _half_name(name)
        if name in self._weights:
            self._constants[half] = _halved(self._weights[name], half)
        else:
            # The plain name is that of the output, cast back to float32.
            half = f"{half}/again" if name in self._outputs else half
            self._cast(name, half, TensorProto.FLOAT16)
        self._halves[name] = half
        return half

    def _cast(self, source: str, target: str, to: int) -> None:
        self._nodes.append(helper.make_node("Cast", [source], [target], name=f"{target}/cast", to=to))


def _half_name(name: str) -> str:
    return f"{name}/float16"


def _halved(tensor: TensorProto, name: str) -> TensorProto:
    values = numpy_helper.to_array(tensor)
    largest = float(np.abs(values).max(initial=0))
    if not largest <= LARGEST:
        raise ExportError(
            f"{tensor.name}: expected weights within ±{LARGEST:.0f}, what float16 holds, got {largest:.6g}; "
            "fit the model again with more weight decay, or ship it in float32 alone"
        )
    rounded = _diffused(values) if values.ndim == 4 else values.astype(np.float16)
    return numpy_helper.from_array(rounded, name)


def _diffused(kernel: npt.NDArray[np.float32]) -> npt.NDArray[np.float16]:
    """Round each filter weight by weight, and add what one rounding lost to the next weight."""
    filters = kernel.reshape(len(kernel), -1).astype(np.float64)
    rounded = np.empty(filters.shape, np.float16)
    lost = np.zeros(len(filters))
    for i in range(filters.shape[1]):
        rounded[:, i] = filters[:, i] + lost
        lost += filters[:, i] - rounded[:, i]
    return rounded.reshape(kernel.shape)
