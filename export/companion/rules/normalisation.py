"""Normalisation by stored statistics, or by those of the tensor itself."""

from collections.abc import Sequence
from typing import Final

import numpy as np

from export.companion.nodes import Array
from export.companion.step import Back, Rule, Step


def _batch(step: Step) -> Back:
    if step.attributes.get("training_mode", 0):
        raise step.refusal("it is in training mode; export the model for inference")
    scale, variance = step.constant(1), step.constant(4)
    slope = scale / np.sqrt(variance + step.attributes.get("epsilon", 1e-5))
    w = step.writer
    return {0: w.op("Mul", step.cotangent, w.constant(_by_channel(slope, step.rank(step.x))))}


def _by_channel(values: Array, rank: int) -> Array:
    """Shape a value for each channel to stand beside the cotangent of a tensor with channels first."""
    return values.reshape(1, 1, -1, *[1] * (rank - 2))


def _layer(step: Step) -> Back:
    first = step.axis(step.attributes.get("axis", -1), step.x)
    scaled = step.writer.op("Mul", step.cotangent, step.node.input[1])
    return {0: _standardised(step, scaled, range(first, step.rank(step.x)))}


def _instance(step: Step) -> Back:
    w = step.writer
    scaled = w.op("Mul", step.cotangent, w.constant(_by_channel(step.constant(1), step.rank(step.x))))
    return {0: _standardised(step, scaled, range(2, step.rank(step.x)))}


def _standardised(step: Step, cotangent: str, axes: Sequence[int]) -> str:
    """Go back through s = (x - mean) / deviation along some axes: (c - mean(c) - s mean(c s)) / deviation."""
    w, axes = step.writer, list(axes)
    centred = w.op("Sub", step.x, w.op("ReduceMean", step.x, axes=axes, keepdims=1))
    variance = w.op("ReduceMean", w.op("Mul", centred, centred), axes=axes, keepdims=1)
    epsilon = w.constant(step.attributes.get("epsilon", 1e-5))
    deviation = w.op("Sqrt", w.op("Add", variance, epsilon))
    standard = step.lift(w.op("Div", centred, deviation))
    along = [axis + 1 for axis in axes]
    mean = w.op("ReduceMean", cotangent, axes=along, keepdims=1)
    slope = w.op("ReduceMean", w.op("Mul", cotangent, standard), axes=along, keepdims=1)
    rest = w.op("Sub", w.op("Sub", cotangent, mean), w.op("Mul", standard, slope))
    return w.op("Div", rest, step.lift(deviation))


RULES: Final[dict[str, Rule]] = {
    "BatchNormalization": _batch,
    "InstanceNormalization": _instance,
    "LayerNormalization": _layer,
}
