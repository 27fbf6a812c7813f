"""Arithmetic of elements, with operands that are broadcast."""

import math
from typing import Final

from onnx import TensorProto

from export.companion.step import Back, Rule, Step


def passed(step: Step) -> Back:
    """Pass the cotangent on."""
    return {0: step.cotangent}


def _cast(step: Step) -> Back:
    if step.attributes["to"] != TensorProto.FLOAT:
        raise step.refusal("the head computes in another precision than float32")
    return passed(step)


def _neg(step: Step) -> Back:
    return {0: step.writer.op("Neg", step.cotangent)}


def _add(step: Step) -> Back:
    return {
        position: step.unbroadcast(step.cotangent, position)
        for position in range(len(step.node.input))
        if step.is_active(position)
    }


def _sub(step: Step) -> Back:
    back = {}
    if step.is_active(0):
        back[0] = step.unbroadcast(step.cotangent, 0)
    if step.is_active(1):
        back[1] = step.unbroadcast(step.writer.op("Neg", step.cotangent), 1)
    return back


def _mul(step: Step) -> Back:
    factors = step.node.input
    return {
        position: step.unbroadcast(
            step.writer.op("Mul", step.cotangent, step.lift_operand(factors[1 - position])), position
        )
        for position in (0, 1)
        if step.is_active(position)
    }


def _div(step: Step) -> Back:
    """∂(x/d)/∂x = 1/d, and ∂(x/d)/∂d = -(x/d)/d."""
    w, back = step.writer, {}
    divided = w.op("Div", step.cotangent, step.lift_operand(step.node.input[1]))
    if step.is_active(0):
        back[0] = step.unbroadcast(divided, 0)
    if step.is_active(1):
        back[1] = step.unbroadcast(w.op("Neg", w.op("Mul", divided, step.lift(step.y))), 1)
    return back


def _pow(step: Step) -> Back:
    exponent = step.constant(1)
    if exponent.size != 1:
        raise step.refusal("its exponent must be one number")
    w, power = step.writer, float(exponent.item())
    root = w.op("Pow", w.one_for_zero(step.x) if power < 1 else step.x, w.constant(power - 1))
    return {0: step.times(w.op("Mul", w.constant(power), root))}


def _abs(step: Step) -> Back:
    return {0: step.times(step.writer.op("Sign", step.x))}


def _exp(step: Step) -> Back:
    return {0: step.times(step.y)}


def _log(step: Step) -> Back:
    return {0: step.times(step.writer.op("Reciprocal", step.x))}


def _sqrt(step: Step) -> Back:
    w = step.writer
    return {0: step.times(w.op("Div", w.constant(0.5), w.one_for_zero(step.y)))}


def _reciprocal(step: Step) -> Back:
    """∂(1/x)/∂x = -(1/x)²."""
    w = step.writer
    return {0: step.times(w.op("Neg", w.op("Mul", step.y, step.y)))}


def _erf(step: Step) -> Back:
    """∂erf(x)/∂x = 2/√π exp(-x²)."""
    w = step.writer
    bell = w.op("Exp", w.op("Neg", w.op("Mul", step.x, step.x)))
    return {0: step.times(w.op("Mul", w.constant(2 / math.sqrt(math.pi)), bell))}


def _clip(step: Step) -> Back:
    w, inside = step.writer, []
    if step.has(1):
        inside.append(w.op("GreaterOrEqual", step.x, step.node.input[1]))
    if step.has(2):
        inside.append(w.op("LessOrEqual", step.x, step.node.input[2]))
    if not inside:
        return passed(step)
    passes = inside[0] if len(inside) == 1 else w.op("And", *inside)
    return {0: step.times(w.op("Cast", passes, to=TensorProto.FLOAT))}


def _where(step: Step) -> Back:
    w, condition, zero, back = step.writer, step.lift_operand(step.x), step.writer.constant(0), {}
    if step.is_active(1):
        back[1] = step.unbroadcast(w.op("Where", condition, step.cotangent, zero), 1)
    if step.is_active(2):
        back[2] = step.unbroadcast(w.op("Where", condition, zero, step.cotangent), 2)
    return back


RULES: Final[dict[str, Rule]] = {
    "Abs": _abs,
    "Add": _add,
    "Cast": _cast,
    "Clip": _clip,
    "Div": _div,
    "Dropout": passed,
    "Erf": _erf,
    "Exp": _exp,
    "Identity": passed,
    "Log": _log,
    "Mul": _mul,
    "Neg": _neg,
    "Pow": _pow,
    "Reciprocal": _reciprocal,
    "Sqrt": _sqrt,
    "Sub": _sub,
    "Sum": _add,
    "Where": _where,
}
