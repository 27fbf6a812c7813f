"""Pooling over windows, and over all positions."""

from typing import Final

import numpy as np
from onnx import helper

from export.companion.nodes import Array, evaluate
from export.companion.rules.convolution import transposed
from export.companion.rules.reductions import shared
from export.companion.step import Back, Rule, Step


def _global_average(step: Step) -> Back:
    """Each position has an equal share, which is not written out."""
    w = step.writer
    return {0: w.op("Mul", step.cotangent, w.constant(1 / np.prod(step.lengths(step.x)[1:])))}


def _global_max(step: Step) -> Back:
    return {0: shared(step, step.cotangent, step.y, range(2, step.rank(step.x)))}


def _average(step: Step) -> Back:
    """The pooling is a convolution of each channel by ones, divided by how many positions each window has."""
    if step.attributes.get("ceil_mode", 0):
        raise step.refusal("it is in ceil mode")
    w, sides = step.writer, step.attributes["kernel_shape"]
    channels, *positions = step.lengths(step.x)
    share = w.constant(1 / _positions_in_windows(step, positions)[np.newaxis])
    window = w.constant(np.ones((channels, 1, *sides)))
    return {0: transposed(step, w.op("Mul", step.full_cotangent, share), window, channels)}


def _positions_in_windows(step: Step, positions: list[int]) -> Array:
    """Count for each window the positions that its mean is taken over; (1, 1, *windows)."""
    sides = step.attributes["kernel_shape"]
    if step.attributes.get("count_include_pad", 0):
        return np.full([1] * (2 + len(sides)), np.prod(sides), np.float32)
    geometry = {
        key: step.attributes[key] for key in ("auto_pad", "dilations", "pads", "strides") if key in step.attributes
    }
    node = helper.make_node("Conv", ["ones", "window"], ["counts"], **geometry)
    return evaluate(node, [np.ones((1, 1, *shape), np.float32) for shape in (positions, sides)])[0]


RULES: Final[dict[str, Rule]] = {
    "AveragePool": _average,
    "GlobalAveragePool": _global_average,
    "GlobalMaxPool": _global_max,
}
