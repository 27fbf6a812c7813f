"""Reverse-mode differentiation of a head, written as ONNX: one pass for all labels."""

from collections.abc import Sequence

import numpy as np

from export.companion.head import Head
from export.companion.rules import RULES
from export.companion.step import Back, Step
from export.companion.writer import Writer
from export.errors import NoCompanion


def write_gradient(head: Head, writer: Writer) -> str:
    """Write ∂logits/∂features after the nodes of the head; see `write_gradients`."""
    return write_gradients(head, writer, (head.features,))[0]


def write_gradients(head: Head, writer: Writer, tensors: Sequence[str]) -> list[str]:
    """Write the gradients of the logits by some tensors of the head, in one pass.

    Returns
    -------
    list of str
        Names of tensors of shape (N, labels, *axes without the batch); an axis along which the gradient is the same
        may have the length 1.

    Raises
    ------
    NoCompanion
        An operator, or a form of it, has no rule.
    """
    labels = writer.shape(head.logits)[1:]
    if len(labels) != 1 or labels[0] is None:
        raise NoCompanion(
            f"{head.logits!r}: expected one logit for each label, (N, labels), got (N, {', '.join(map(str, labels))}); "
            "name the tensor that holds the logits"
        )
    cotangents = {head.logits: writer.constant(np.eye(labels[0])[np.newaxis])}
    for node in reversed(head.model.graph.node):
        arriving = [cotangents.get(name) for name in node.output]
        if not any(arriving):
            continue
        for position, cotangent in _back(Step(node, arriving, head, writer)).items():
            name, held = node.input[position], cotangents.get(node.input[position])
            cotangents[name] = cotangent if held is None else writer.op("Add", held, cotangent)
    for name in tensors:
        if name not in cotangents:
            raise NoCompanion(f"{head.logits!r} have no gradient by {name!r}; name features behind it")
    return [cotangents[name] for name in tensors]


def _back(step: Step) -> Back:
    """Return the cotangents of a node's inputs, of all that need one."""
    if (rule := RULES.get(step.node.op_type)) is None:
        raise step.refusal("this operator has no rule")
    active = {position for position in range(len(step.node.input)) if step.is_active(position)}
    back = {position: cotangent for position, cotangent in rule(step).items() if position in active}
    if without := active - back.keys():
        name = step.node.input[min(without)]
        raise step.refusal(f"its input {name!r} is computed from the features, and must be a constant")
    return back
