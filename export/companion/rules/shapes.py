"""Operators that move, join or cut elements, and compute nothing."""

import math
from typing import Final

import numpy as np

from export.companion.step import Back, Rule, Step


def _reshape(step: Step) -> Back:
    """Back to the axes of the input: the lengths of the cotangent where it is written out, 1 where it is not."""
    w, before, after = step.writer, step.lengths(step.x), step.lengths(step.y)
    if math.prod(before) != math.prod(after):
        raise step.refusal("it joins the images of a batch with another axis")
    held = w.shape(step.cotangent)[2:]
    lengths = _held_lengths(before, after, held)
    cotangent = step.cotangent if lengths else step.full_cotangent
    return {0: w.op("Reshape", cotangent, w.integers(0, 0, *(lengths or before)))}


def _held_lengths(before: tuple[int, ...], after: tuple[int, ...], held: tuple[int | None, ...]) -> list[int] | None:
    """Match groups of axes of the same size; None where a cotangent is written out along a part of one only."""
    lengths: list[int] = []
    i = j = 0
    while i < len(before) or j < len(after):
        start, first, size_before, size_after = i, j, 1, 1
        while size_before != size_after or (i == start and j == first):
            if i < len(before) and (size_before <= size_after or j == len(after)):
                size_before, i = size_before * before[i], i + 1
            else:
                size_after, j = size_after * after[j], j + 1
        if all(length == 1 for length in held[first:j]):
            lengths += [1] * (i - start)
        elif held[first:j] == after[first:j]:
            lengths += before[start:i]
        else:
            return None
    return lengths


def _transpose(step: Step) -> Back:
    order = step.attributes.get("perm", list(reversed(range(step.rank(step.x)))))
    if order[0] != 0:
        raise step.refusal("it moves the batch")
    back = [int(axis) + 1 for axis in np.argsort(order)]
    return {0: step.writer.op("Transpose", step.cotangent, perm=[0, *back])}


def _concat(step: Step) -> Back:
    w, axis = step.writer, step.axis(step.attributes["axis"], step.y)
    back, start = {}, 0
    for position, name in enumerate(step.node.input):
        end = start + step.lengths(name)[axis - 1]
        if step.is_active(position):
            back[position] = w.op(
                "Slice", step.full_cotangent, w.integers(start), w.integers(end), w.integers(axis + 1)
            )
        start = end
    return back


def _split(step: Step) -> Back:
    """Surround the cotangent of each part that a logit depends on with zeros, and add them up."""
    axis = step.axis(step.attributes.get("axis", 0), step.x)
    length, start, parts = step.lengths(step.x)[axis - 1], 0, []
    for cotangent, name in zip(step.arriving, step.node.output, strict=True):
        end = start + step.lengths(name)[axis - 1]
        if cotangent is not None:
            parts.append(_padded(step, step.full(cotangent, name), {axis: (start, length - end)}))
        start = end
    return {0: parts[0] if len(parts) == 1 else step.writer.op("Sum", *parts)}


def _slice(step: Step) -> Back:
    starts, ends = step.constant(1), step.constant(2)
    axes = step.constant(3) if step.has(3) else np.arange(len(starts))
    if step.has(4) and (step.constant(4) != 1).any():
        raise step.refusal("its steps are not 1")
    lengths = step.lengths(step.x)
    margins = {}
    for start, end, axis in zip(starts.tolist(), ends.tolist(), axes.tolist(), strict=True):
        counted = step.axis(axis, step.x)
        length = lengths[counted - 1]
        first, last, _ = slice(start, end).indices(length)
        margins[counted] = (first, length - last)
    return {0: _padded(step, step.full_cotangent, margins)}


def _gather(step: Step) -> Back:
    """One position, or neighbours in their order."""
    w, axis, indices = step.writer, step.axis(step.attributes.get("axis", 0), step.x), step.constant(1)
    length = step.lengths(step.x)[axis - 1]
    positions = np.atleast_1d(indices) % length
    if positions.ndim > 1 or (np.diff(positions) != 1).any():
        raise step.refusal("it takes positions that are not neighbours")
    cotangent = step.full_cotangent
    if indices.ndim == 0:
        cotangent = w.op("Unsqueeze", cotangent, w.integers(axis + 1))
    return {0: _padded(step, cotangent, {axis: (int(positions[0]), length - 1 - int(positions[-1]))})}


def _padded(step: Step, cotangent: str, margins: dict[int, tuple[int, int]]) -> str:
    """Surround a cotangent with zeros, where the operator left out elements of these axes."""
    rank = step.rank(step.x)
    before, after = ([margins.get(axis, (0, 0))[side] for axis in range(1, rank)] for side in (0, 1))
    return step.writer.op("Pad", cotangent, step.writer.integers(0, 0, *before, 0, 0, *after))


def _pad(step: Step) -> Back:
    """Cut off the margins; values taken from the tensor itself would have to be added."""
    if step.attributes.get("mode", "constant") != "constant" or step.has(3):
        raise step.refusal("it does not pad all axes with a constant")
    w, pads, rank = step.writer, step.constant(1).tolist(), step.rank(step.x)
    if min(pads) < 0 or pads[0] or pads[rank]:
        raise step.refusal("it pads the batch, or cuts elements off")
    ends = [start + length for start, length in zip(pads[1:rank], step.lengths(step.x), strict=True)]
    cut = w.op(
        "Slice", step.full_cotangent, w.integers(*pads[1:rank]), w.integers(*ends), w.integers(*range(2, rank + 1))
    )
    return {0: cut}


def _expand(step: Step) -> Back:
    return {0: step.unbroadcast(step.cotangent, 0)}


RULES: Final[dict[str, Rule]] = {
    "Concat": _concat,
    "Expand": _expand,
    "Flatten": _reshape,
    "Gather": _gather,
    "Pad": _pad,
    "Reshape": _reshape,
    "Slice": _slice,
    "Split": _split,
    "Squeeze": _reshape,
    "Transpose": _transpose,
    "Unsqueeze": _reshape,
}
