"""Where a network's features are: the last tensor with positions that all of its logits pass through.

A tensor's layout follows from what makes it: convolutions, pooling and normalisation write channels first, a
Transpose may move them last, and what works element by element keeps them.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from onnx import ModelProto, NodeProto

from export.companion.head import content_of, needed_nodes
from export.companion.nodes import attributes_of, lengths_of
from export.errors import NoCompanion

Layout: TypeAlias = Literal["channels_last", "channels_first"]

_CHANNELS_FIRST: Final = frozenset(
    {"AveragePool", "BatchNormalization", "Conv", "ConvTranspose", "GlobalAveragePool", "GlobalMaxPool"}
    | {"GroupNormalization", "InstanceNormalization", "LpPool", "LRN", "MaxPool"}
)
_KEEP: Final = frozenset(
    {"Abs", "Add", "Cast", "Celu", "Clip", "Concat", "Div", "Dropout", "Elu", "Erf", "Exp", "Gelu", "HardSigmoid"}
    | {"HardSwish", "Identity", "LeakyRelu", "Log", "Max", "Mean", "Min", "Mish", "Mul", "Neg", "PRelu", "Pad", "Pow"}
    | {"Relu", "Resize", "Selu", "Sigmoid", "Slice", "Softplus", "Softsign", "Sqrt", "Sub", "Sum", "Tanh"}
    | {"ThresholdedRelu", "Where"}
)
_MOVES: Final[Mapping[tuple[Layout, tuple[int, ...]], Layout]] = {
    ("channels_first", (0, 2, 3, 1)): "channels_last",
    ("channels_last", (0, 3, 1, 2)): "channels_first",
}

#: Fewer make no features of an image: a vision transformer begins with one convolution, which cuts it into patches.
_FEWEST_CONVOLUTIONS: Final = 2


@dataclass(frozen=True)
class Features:
    """The tensor that maps are computed from.

    Attributes
    ----------
    name : str
    layout : str
    lengths : (int, int, int)
        Of its axes after the batch.
    """

    name: str
    layout: Layout
    lengths: tuple[int, int, int]

    @property
    def channel_axis(self) -> int:
        """Axis of the channels."""
        return 3 if self.layout == "channels_last" else 1

    @property
    def position_axes(self) -> tuple[int, int]:
        """Axes of the positions."""
        return (1, 2) if self.layout == "channels_last" else (2, 3)

    @property
    def channels(self) -> int:
        """How many channels there are."""
        return self.lengths[self.channel_axis - 1]

    @property
    def grid(self) -> tuple[int, int]:
        """Height and width in positions."""
        height, width = (self.lengths[axis - 1] for axis in self.position_axes)
        return height, width


def named_features(model: ModelProto, name: str, layout: Layout | None) -> Features:
    """Describe the tensor of a name.

    Parameters
    ----------
    model : ModelProto
    name : str
    layout : str, optional
        By default as the operators before it have it; of an input, channels last, as a bundle has its features.

    Raises
    ------
    NoCompanion
        It has no positions, or its layout is unknown, or the model has no such tensor.
    """
    shape = lengths_of(model).get(name)
    if shape is None:
        raise NoCompanion(f"the model has no tensor {name!r} of known shape; name one that it computes")
    if layout is None:
        layout = "channels_last" if name in {value.name for value in model.graph.input} else layouts_of(model).get(name)
    if layout is None and len(shape) == 4:
        raise NoCompanion(
            f"whether the channels of {name!r} come first or last does not follow from the operators before it; name "
            "the output of a convolution or of what works on it element by element"
        )
    found = _features(name, layout or "channels_last", shape)
    # One position is enough here: a small network may have no more.
    if found is None:
        raise NoCompanion(
            f"{name!r} has no positions: expected four axes of known lengths, got {shape} (0: unknown); "
            "name the output of a convolution, or leave out the maps (`--maps none`)"
        )
    return found


def candidates(model: ModelProto, logits: str) -> Iterator[Features]:
    """Yield, from the last one on, the tensors with positions that all ways from the image to the logits pass."""
    layouts, shapes = layouts_of(model), lengths_of(model)
    for name in _cuts(model, logits):
        found = _features(name, layouts[name], shapes.get(name, [])) if name in layouts else None
        if found is not None:
            yield found


def find_features(model: ModelProto, logits: str) -> Features:
    """Find the last tensor with positions that every logit depends on, and depends on the image only through.

    Raises
    ------
    NoCompanion
        There is none, or none but a convolution of the image itself.
    """
    depths = _convolutions_before(model)
    for found in candidates(model, logits):
        if max(found.grid) > 1 and depths[found.name] >= _FEWEST_CONVOLUTIONS:
            return found
    raise NoCompanion(
        f"no tensor with positions lies on every way to {logits!r} (a vision transformer has none); "
        "name the features if there are any, or leave out the maps (`--maps none`)"
    )


def _features(name: str, layout: Layout, shape: list[int]) -> Features | None:
    """Return a tensor as features; None where it has not four axes of known lengths."""
    return Features(name, layout, (shape[1], shape[2], shape[3])) if len(shape) == 4 and all(shape[1:]) else None


def layouts_of(model: ModelProto) -> dict[str, Layout]:
    """Return the layout of each tensor of four axes whose layout follows from the operators before it."""
    layouts: dict[str, Layout] = {}
    for node in model.graph.node:
        layout = _layout_made_by(node, layouts)
        if layout is not None:
            layouts[node.output[0]] = layout
    return layouts


def _layout_made_by(node: NodeProto, layouts: Mapping[str, Layout]) -> Layout | None:
    if node.op_type in _CHANNELS_FIRST:
        return "channels_first"
    before = next((layouts[name] for name in node.input if name in layouts), None)
    if before is not None and node.op_type == "Transpose":
        return _MOVES.get((before, tuple(attributes_of(node).get("perm", ()))))
    return before if node.op_type in _KEEP else None


def _cuts(model: ModelProto, logits: str) -> Iterator[str]:
    """Yield, from the last one on, the tensors that all ways from the image to the logits pass."""
    nodes, moving = needed_nodes(model, model.graph.input[0].name, logits), content_of(model)
    frontier = {logits}
    for node in reversed(nodes):
        frontier = (frontier - set(node.output)) | moving.intersection(node.input)
        if len(frontier) == 1:
            yield from frontier


def _convolutions_before(model: ModelProto) -> dict[str, int]:
    """Count the convolutions on the longest way to each tensor."""
    depths: dict[str, int] = {}
    for node in model.graph.node:
        before = max((depths.get(name, 0) for name in node.input), default=0)
        depths.update(dict.fromkeys(node.output, before + (node.op_type == "Conv")))
    return depths
