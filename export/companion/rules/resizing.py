"""Resizing of images: linear, so along each axis the transpose of a matrix."""

from typing import Final

import numpy as np
from onnx import helper

from export.companion.nodes import Array, evaluate
from export.companion.step import Back, Rule, Step


def _resize(step: Step) -> Back:
    before, after = step.lengths(step.x), step.lengths(step.y)
    if step.attributes.get("mode", "nearest") == "cubic" or len(before) != 3 or before[0] != after[0]:
        raise step.refusal("expected linear or nearest interpolation over two axes")
    w = step.writer
    by_rows = w.op("MatMul", w.constant(_matrix(step, 2)), step.full_cotangent)
    return {0: w.op("MatMul", by_rows, w.constant(_matrix(step, 3).T))}


def _matrix(step: Step, axis: int) -> Array:
    """Return what an axis is multiplied by, (length before, length after) float32."""
    before, after = (step.lengths(name)[axis - 1] for name in (step.x, step.y))
    # A scale that is given moves positions otherwise than the one that follows from the lengths.
    scales = np.array([1, 1, 1, step.constant(2)[axis]], np.float32) if step.has(2) else None
    sizes = None if step.has(2) else np.array([1, 1, before, after])
    kept = ("coordinate_transformation_mode", "mode", "nearest_mode")
    attributes = {key: step.attributes[key] for key in kept if key in step.attributes}
    inputs = ["eye", "", "" if scales is None else "scales", "" if sizes is None else "sizes"]
    node = helper.make_node("Resize", inputs, ["rows"], **attributes)
    eye = np.eye(before, dtype=np.float32)[np.newaxis, np.newaxis]
    (rows,) = evaluate(node, [eye, None, scales, sizes])
    return np.asarray(rows[0, 0])


RULES: Final[dict[str, Rule]] = {"Resize": _resize}
