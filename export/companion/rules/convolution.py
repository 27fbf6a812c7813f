"""Convolutions with constant kernels: their transposes, the labels as further images of the batch."""

from dataclasses import dataclass
from typing import Final

from export.companion.step import Back, Rule, Step


@dataclass(frozen=True)
class _Geometry:
    """How a window moves over the positions; each is a list with an entry for every spatial axis, but for `pads`.

    Attributes
    ----------
    sides, strides, dilations : list of int
    pads : list of int
        Before each axis, then after each.
    uncovered : list of int
        How many positions at the end of each axis no window reaches.
    """

    sides: list[int]
    strides: list[int]
    dilations: list[int]
    pads: list[int]
    uncovered: list[int]

    @property
    def is_pointwise(self) -> bool:
        """Whether each window is one position, and each position is in one window."""
        return {*self.sides, *self.strides} == {1} and not any(self.pads)


def _geometry(step: Step, sides: list[int]) -> _Geometry:
    """Read the geometry of a convolution, or of a pooling."""
    axes = range(len(sides))
    strides = step.attributes.get("strides", [1] * len(sides))
    dilations = step.attributes.get("dilations", [1] * len(sides))
    before, after = step.lengths(step.x)[1:], step.lengths(step.y)[1:]
    spans = [(after[i] - 1) * strides[i] + (sides[i] - 1) * dilations[i] + 1 for i in axes]
    pads = step.attributes.get("pads", [0] * 2 * len(sides))
    if (auto := step.attributes.get("auto_pad", "NOTSET")).startswith("SAME"):
        totals = [max(0, spans[i] - before[i]) for i in axes]
        smaller, larger = [total // 2 for total in totals], [total - total // 2 for total in totals]
        pads = smaller + larger if auto == "SAME_UPPER" else larger + smaller
    uncovered = [before[i] + pads[i] + pads[i + len(sides)] - spans[i] for i in axes]
    return _Geometry(sides, strides, dilations, pads, uncovered)


def _conv(step: Step) -> Back:
    return {0: transposed(step, step.cotangent, step.node.input[1], step.attributes.get("group", 1))}


def transposed(step: Step, cotangent: str, kernel: str, group: int) -> str:
    """Return the cotangent of the input of a convolution.

    Parameters
    ----------
    step : Step
        The convolution, or a pooling that one can stand for.
    cotangent : str
        Of its output.
    kernel : str
        Name of a constant, (out, in / group, *sides) float32.
    group : int
    """
    w, geometry = step.writer, _geometry(step, list(step.lengths(kernel)[1:]))
    # Pointwise, what is the same at every position stays the same at every position.
    if not geometry.is_pointwise:
        cotangent = step.full(cotangent, step.y)
    labels, *image = step.lengths(cotangent)
    back = w.op(
        "ConvTranspose",
        w.op("Reshape", cotangent, w.integers(-1, *image)),
        kernel,
        strides=geometry.strides,
        dilations=geometry.dilations,
        group=group,
        pads=geometry.pads,
        output_padding=geometry.uncovered if not geometry.is_pointwise else [0] * len(geometry.sides),
    )
    return w.op("Reshape", back, w.integers(-1, labels, *step.lengths(back)))


RULES: Final[dict[str, Rule]] = {"Conv": _conv}
