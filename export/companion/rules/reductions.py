"""Reductions along axes. That of a mean or a sum is the same all along the axis, and is not written out."""

from collections.abc import Sequence
from typing import Final

import numpy as np
from onnx import TensorProto

from export.companion.step import Back, Rule, Step


def _axes(step: Step) -> list[int]:
    """Return the axes that are reduced, from an input or an attribute, or all."""
    axes = step.constant(1).tolist() if step.has(1) else step.attributes.get("axes", range(step.rank(step.x)))
    return [step.axis(axis, step.x) for axis in axes]


def _kept(step: Step, axes: Sequence[int]) -> str:
    """Return the cotangent with the axes that were reduced."""
    if step.attributes.get("keepdims", 1):
        return step.cotangent
    return step.writer.op("Unsqueeze", step.cotangent, step.writer.integers(*(axis + 1 for axis in axes)))


def _kept_result(step: Step, axes: Sequence[int]) -> str:
    """Return the result with the axes that were reduced."""
    if step.attributes.get("keepdims", 1):
        return step.y
    return step.writer.op("Unsqueeze", step.y, step.writer.integers(*axes))


def _sum(step: Step) -> Back:
    return {0: _kept(step, _axes(step))}


def _mean(step: Step) -> Back:
    axes, w = _axes(step), step.writer
    count = int(np.prod([step.lengths(step.x)[axis - 1] for axis in axes]))
    return {0: w.op("Mul", _kept(step, axes), w.constant(1 / count))}


def _extreme(step: Step) -> Back:
    axes = _axes(step)
    return {0: shared(step, _kept(step, axes), _kept_result(step, axes), axes)}


def shared(step: Step, cotangent: str, extreme: str, axes: Sequence[int]) -> str:
    """Give a cotangent to the elements that equal the extreme along some axes, in equal shares."""
    w = step.writer
    hit = w.op("Cast", w.op("Equal", step.x, extreme), to=TensorProto.FLOAT)
    share = w.op("Div", hit, w.op("ReduceSum", hit, w.integers(*axes), keepdims=1))
    return w.op("Mul", cotangent, step.lift(share))


def _log_sum_exp(step: Step) -> Back:
    axes, w = _axes(step), step.writer
    weights = w.op("Exp", w.op("Sub", step.x, _kept_result(step, axes)))
    return {0: w.op("Mul", _kept(step, axes), step.lift(weights))}


def _l2(step: Step) -> Back:
    axes, w = _axes(step), step.writer
    direction = w.op("Div", step.x, w.one_for_zero(_kept_result(step, axes)))
    return {0: w.op("Mul", _kept(step, axes), step.lift(direction))}


def _sum_of_squares(step: Step) -> Back:
    w = step.writer
    return {0: w.op("Mul", _kept(step, _axes(step)), step.lift(w.op("Mul", w.constant(2), step.x)))}


RULES: Final[dict[str, Rule]] = {
    "ReduceL2": _l2,
    "ReduceLogSumExp": _log_sum_exp,
    "ReduceMax": _extreme,
    "ReduceMean": _mean,
    "ReduceMin": _extreme,
    "ReduceSum": _sum,
    "ReduceSumSquare": _sum_of_squares,
}
