"""A classifier's graph inside that of a bundle: grey levels in, what the network expects in between, its ends named."""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import onnx
import onnx.compose
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from export.errors import ExportError
from export.importing.ends import ImageInput, Output, end_of
from export.importing.source import Conventions, Range
from export.tensors import TENSORS

#: Precedes the names of the graph as it came, so that they are not ours.
PREFIX: Final = "source/"

#: Probabilities are kept this far from 0 and 1 where their log-odds are computed.
_EPSILON: Final = 1e-7
#: Added to a logit, it leaves nothing of its exponential.
_NEVER: Final = -1e9


def wrap(model: ModelProto, taken: ImageInput, output: Output, how: Conventions) -> ModelProto:
    """Put a classifier between a bundle's input and outputs.

    Parameters
    ----------
    model : ModelProto
    taken : ImageInput
    output : Output
    how : Conventions

    Returns
    -------
    ModelProto
        image (N, H, W) uint8 → probabilities and logits (N, labels that are kept) float32.
    """
    graph = onnx.compose.add_prefix(model, PREFIX).graph
    nodes = _Nodes(opset_of(model))
    nodes.image(taken, how, PREFIX + taken.name)
    end = end_of(output, how.ends)
    source = PREFIX + (output.name if end == "probabilities" or output.logits is None else output.logits)
    source = nodes.op("Cast", source, to=TensorProto.FLOAT)
    if end == "softmax":
        source = nodes.log_odds_of_softmax(source, len(how.labels))
    kept = [place for place, label in enumerate(how.labels) if label is not None]
    if len(kept) < len(how.labels):
        source = nodes.columns(source, kept)
    if end == "probabilities":
        source = nodes.log_odds(source)
    nodes.op("Identity", source, named=TENSORS.logits)
    nodes.op("Sigmoid", TENSORS.logits, named=TENSORS.probabilities)
    return _assembled(model, graph, nodes, taken, len(kept))


class _Nodes:
    """Collects nodes before and behind a graph, and their constants."""

    def __init__(self, opset: int) -> None:
        self._opset = opset
        self.before: list[NodeProto] = []
        self.behind: list[NodeProto] = []
        self.constants: list[TensorProto] = []
        self._into = self.behind

    def op(self, operator: str, *inputs: str, named: str | None = None, **attributes: Any) -> str:
        """Add a node; return the name of its output."""
        output = named or f"ends/{len(self.before) + len(self.behind)}"
        self._into.append(helper.make_node(operator, list(inputs), [output], **attributes))
        return output

    def constant(self, value: Any) -> str:
        """Add a constant; return its name."""
        name = f"ends/constant-{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def image(self, taken: ImageInput, how: Conventions, named: str) -> None:
        """Add what turns grey levels into the input of the graph."""
        self._into = self.before
        axis = {"NCHW": 1, "NHWC": 3}.get(taken.layout)
        x = TENSORS.image
        if taken.is_float:
            black, white = how.values or Range(0.0, 255.0)
            x = self.op("Cast", x, to=TensorProto.FLOAT)
            x = self.op("Mul", x, self.constant(np.float32((white - black) / 255)))
            x = self.op("Add", x, self.constant(np.float32(black)))
        if axis is not None:
            x = self.op("Unsqueeze", x, self.constant(np.array([axis], np.int64)))
        if taken.channels == 3:
            x = self.op("Concat", x, x, x, axis=axis)
        if taken.is_float:
            x = self.op("Sub", x, self.constant(_by_channel(how.mean, taken, "--mean")))
            x = self.op("Div", x, self.constant(_by_channel(how.deviation, taken, "--std")))
            x = self.op("Cast", x, to=taken.element)
        self.op("Identity", x, named=named)
        self._into = self.behind

    def columns(self, source: str, kept: Sequence[int]) -> str:
        """Add what takes some columns, by slices of neighbours: those can be differentiated."""
        starts = [place for place in kept if place - 1 not in kept]
        ends = [place + 1 for place in kept if place + 1 not in kept]
        axis = self.constant(np.array([1], np.int64))
        slices = [
            self.op("Slice", source, *(self.constant(np.array([edge], np.int64)) for edge in edges), axis)
            for edges in zip(starts, ends, strict=True)
        ]
        return slices[0] if len(slices) == 1 else self.op("Concat", *slices, axis=1)

    def log_odds_of_softmax(self, logits: str, count: int) -> str:
        """Add z_k - log Σ_{j≠k} exp z_j: the log-odds of softmax, also where rounding makes a probability 1."""
        middle, last = (self.constant(np.array([axis], np.int64)) for axis in (1, 2))
        others = self.constant(np.where(np.eye(count, dtype=bool), np.float32(_NEVER), np.float32(0)))
        apart = self.op("Add", self.op("Unsqueeze", logits, middle), others)
        # Reductions take their axes from an input since opset 18, from an attribute before.
        axes: dict[str, Any] = {} if self._opset >= 18 else {"axes": [2]}
        inputs = [apart, last] if self._opset >= 18 else [apart]
        return self.op("Sub", logits, self.op("ReduceLogSumExp", *inputs, keepdims=0, **axes))

    def log_odds(self, probabilities: str) -> str:
        """Add log(p / (1 - p)), finite."""
        low, high = (self.constant(np.float32(edge)) for edge in (_EPSILON, 1 - _EPSILON))
        inside = self.op("Clip", probabilities, low, high)
        other = self.op("Sub", self.constant(np.float32(1)), inside)
        return self.op("Sub", self.op("Log", inside), self.op("Log", other))


def opset_of(model: ModelProto) -> int:
    """Return the version of ONNX's own operators that a model is written in."""
    return max((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), default=1)


def _by_channel(values: Sequence[float], taken: ImageInput, option: str) -> Any:
    """Return numbers for each channel in a shape that broadcasts over the image."""
    if len(values) not in (1, taken.channels):
        kind, wanted = ("grey", "one number") if taken.channels == 1 else ("RGB", "one number or three")
        raise ExportError(f"expected {wanted} for {option}, because {taken.name!r} is {kind}, got {len(values)}")
    array = np.asarray(values, np.float32)
    return array.reshape(-1, 1, 1) if taken.layout == "NCHW" else array


def _assembled(model: ModelProto, graph: onnx.GraphProto, nodes: _Nodes, taken: ImageInput, count: int) -> ModelProto:
    batch = taken.batch or "N"
    image = helper.make_tensor_value_info(TENSORS.image, TensorProto.UINT8, [batch, *taken.size])
    outputs = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [batch, count])
        for name in (TENSORS.probabilities, TENSORS.logits)
    ]
    weights = {tensor.name for tensor in graph.initializer}
    read = {name for node in graph.node for name in node.input}
    assembled = helper.make_graph(
        [*nodes.before, *graph.node, *nodes.behind],
        "imported",
        [image],
        outputs,
        [*(tensor for tensor in graph.initializer if tensor.name in read), *nodes.constants],
        # Shapes for a batch of one length, as some exporters write them, would contradict others.
        value_info=[value for value in graph.value_info if taken.batch is not None and value.name not in weights],
        sparse_initializer=graph.sparse_initializer,
    )
    wrapped = helper.make_model(
        assembled, opset_imports=list(model.opset_import), functions=list(model.functions), ir_version=model.ir_version
    )
    onnx.checker.check_model(wrapped, full_check=True)
    return wrapped
