"""One node of the head on the way back: what a rule sees, and what rules share.

A cotangent holds ∂logits/∂x for all labels at once: (N, labels, *axes of x after its batch). Where it is the same
along an axis, or for all images, that axis may have the length 1: the gradient of a mean is not written out for each
position.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

from onnx import NodeProto

from export.companion.head import Head
from export.companion.nodes import Array, attributes_of
from export.companion.writer import Writer
from export.errors import NoCompanion


@dataclass(frozen=True)
class Step:
    """A node of the head, and the cotangents of its outputs.

    Attributes
    ----------
    node : NodeProto
    arriving : sequence of str or None
        Of each output; None for one that no logit depends on.
    head : Head
    writer : Writer
    """

    node: NodeProto
    arriving: Sequence[str | None]
    head: Head
    writer: Writer

    @cached_property
    def attributes(self) -> dict[str, Any]:
        """The node's attributes."""
        return attributes_of(self.node)

    @property
    def x(self) -> str:
        """The first input."""
        return str(self.node.input[0])

    @property
    def y(self) -> str:
        """The first output."""
        return str(self.node.output[0])

    @property
    def cotangent(self) -> str:
        """Of the first output."""
        if (first := self.arriving[0]) is None:
            raise self.refusal("only its first output may be used")
        return first

    @property
    def full_cotangent(self) -> str:
        """Of the first output, with all its axes written out."""
        return self.full(self.cotangent, self.y)

    def refusal(self, why: str) -> NoCompanion:
        """Return the error for a node of a form without a rule."""
        return NoCompanion(
            f"{self.node.op_type} {self.node.name or self.y!r}, between {self.head.features!r} and "
            f"{self.head.logits!r}: {why}; name features behind it, or leave out the maps (`--maps none`)"
        )

    def is_active(self, position: int) -> bool:
        """Return whether an input needs a cotangent."""
        return self.node.input[position] in self.head.active

    def has(self, position: int) -> bool:
        """Return whether an optional input is there."""
        return len(self.node.input) > position and bool(self.node.input[position])

    def lengths(self, name: str) -> tuple[int, ...]:
        """Return the lengths of a tensor's axes after the batch.

        Raises
        ------
        NoCompanion
            One is not known before the graph runs.
        """
        lengths = tuple(length for length in self.writer.shape(name)[1:] if length is not None)
        if len(lengths) < self.rank(name) - 1:
            raise self.refusal(f"the lengths of {name!r} are not known")
        return lengths

    def rank(self, name: str) -> int:
        """Return how many axes a tensor has."""
        return len(self.writer.shape(name))

    def constant(self, position: int) -> Array:
        """Return the value of an input.

        Raises
        ------
        NoCompanion
            It is computed.
        """
        value = self.writer.value(self.node.input[position])
        if value is None:
            raise self.refusal(f"its input {self.node.input[position]!r} is computed, and must be a constant")
        return value

    def axis(self, axis: int, name: str) -> int:
        """Return an axis of a tensor counted from the first.

        Raises
        ------
        NoCompanion
            It is the batch.
        """
        counted = axis % self.rank(name)
        if counted == 0:
            raise self.refusal("it mixes the images of a batch")
        return counted

    def lift(self, name: str) -> str:
        """Return a tensor as it stands beside a cotangent: (N, ...) → (N, 1, ...)."""
        return self.writer.op("Unsqueeze", name, self.writer.integers(1))

    def lift_operand(self, name: str) -> str:
        """Return an operand that is broadcast to the output as it stands beside the output's cotangent."""
        if self.rank(name) == self.rank(self.y):
            return self.lift(name)
        if self.writer.value(name) is None:
            raise self.refusal(f"{name!r} has other axes than the result")
        return name

    def times(self, derivative: str) -> str:
        """Return the cotangent of the input of a function of each element, from its derivative."""
        return self.writer.op("Mul", self.cotangent, self.lift(derivative))

    def full(self, cotangent: str, name: str) -> str:
        """Return a cotangent of a tensor with all its axes written out, but for the batch."""
        lengths = self.lengths(name)
        if self.writer.shape(cotangent)[2:] == lengths:
            return cotangent
        return self.writer.op("Expand", cotangent, self.writer.integers(1, 1, *lengths))

    def sum(self, cotangent: str, axes: Sequence[int], like: str) -> str:
        """Sum a cotangent of a tensor over some of the tensor's axes, and keep them with the length 1."""
        w, lengths = self.writer, self.lengths(like)
        same = [axis for axis in axes if w.shape(cotangent)[axis + 1] == 1]
        varying = [axis + 1 for axis in axes if axis not in same]
        if varying:
            cotangent = w.op("ReduceSum", cotangent, w.integers(*varying), keepdims=1)
        repeats = math.prod(lengths[axis - 1] for axis in same)
        return cotangent if repeats == 1 else w.op("Mul", cotangent, w.constant(repeats))

    def unbroadcast(self, cotangent: str, position: int) -> str:
        """Sum a cotangent of the output over the axes along which an input was broadcast to it."""
        name = self.node.input[position]
        before, after = self.writer.shape(name), self.writer.shape(self.y)
        if len(before) != len(after):
            raise self.refusal(f"{name!r} has other axes than the result")
        axes = [axis for axis in range(1, len(after)) if before[axis] == 1 and after[axis] != 1]
        return self.sum(cotangent, axes, self.y) if axes else cotangent


#: Position of an input → its cotangent; for inputs that need one.
Back: TypeAlias = Mapping[int, str]
Rule: TypeAlias = Callable[[Step], Back]
