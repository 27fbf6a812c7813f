"""Activation functions: of each element, and softmax."""

from typing import Final

from onnx import TensorProto

from export.companion.step import Back, Rule, Step


def _relu(step: Step) -> Back:
    w = step.writer
    return {0: step.times(w.op("Cast", w.op("Greater", step.x, w.constant(0)), to=TensorProto.FLOAT))}


def _leaky_relu(step: Step) -> Back:
    w = step.writer
    slope = w.constant(step.attributes.get("alpha", 0.01))
    return {0: step.times(w.op("Where", w.op("Greater", step.x, w.constant(0)), w.constant(1), slope))}


def _prelu(step: Step) -> Back:
    w, slope = step.writer, step.node.input[1]
    return {0: step.times(w.op("Where", w.op("Greater", step.x, w.constant(0)), w.constant(1), slope))}


def _elu(step: Step) -> Back:
    """Below 0 the derivative of alpha (exp(x) - 1) is the result plus alpha."""
    w = step.writer
    below = w.op("Add", step.y, w.constant(step.attributes.get("alpha", 1.0)))
    return {0: step.times(w.op("Where", w.op("Greater", step.x, w.constant(0)), w.constant(1), below))}


def _sigmoid(step: Step) -> Back:
    w = step.writer
    return {0: step.times(w.op("Mul", step.y, w.op("Sub", w.constant(1), step.y)))}


def _hard_sigmoid(step: Step) -> Back:
    w = step.writer
    inside = w.op("And", w.op("Greater", step.y, w.constant(0)), w.op("Less", step.y, w.constant(1)))
    slope = w.constant(step.attributes.get("alpha", 0.2))
    return {0: step.times(w.op("Mul", w.op("Cast", inside, to=TensorProto.FLOAT), slope))}


def _hard_swish(step: Step) -> Back:
    """Of x clip(x/6 + 1/2, 0, 1) the derivative is 0 below -3, x/3 + 1/2 within, 1 above 3."""
    w, x = step.writer, step.x
    within = w.op("Add", w.op("Div", x, w.constant(3)), w.constant(0.5))
    up_to_3 = w.op("Where", w.op("Less", x, w.constant(-3)), w.constant(0), within)
    return {0: step.times(w.op("Where", w.op("Greater", x, w.constant(3)), w.constant(1), up_to_3))}


def _tanh(step: Step) -> Back:
    w = step.writer
    return {0: step.times(w.op("Sub", w.constant(1), w.op("Mul", step.y, step.y)))}


def _softplus(step: Step) -> Back:
    return {0: step.times(step.writer.op("Sigmoid", step.x))}


def _softmax(step: Step) -> Back:
    """∂/∂x = y (c - Σ c y), the sum along the axis."""
    w, axis = step.writer, step.axis(step.attributes.get("axis", -1), step.y)
    y = step.lift(step.y)
    weighted = w.op("Mul", step.cotangent, y)
    return {0: w.op("Sub", weighted, w.op("Mul", y, step.sum(weighted, [axis], step.y)))}


def _log_softmax(step: Step) -> Back:
    """∂/∂x = c - exp(y) Σ c, the sum along the axis."""
    w, axis = step.writer, step.axis(step.attributes.get("axis", -1), step.y)
    total = step.sum(step.cotangent, [axis], step.y)
    return {0: w.op("Sub", step.cotangent, w.op("Mul", step.lift(w.op("Exp", step.y)), total))}


RULES: Final[dict[str, Rule]] = {
    "Elu": _elu,
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": _hard_swish,
    "LeakyRelu": _leaky_relu,
    "LogSoftmax": _log_softmax,
    "PRelu": _prelu,
    "Relu": _relu,
    "Sigmoid": _sigmoid,
    "Softmax": _softmax,
    "Softplus": _softplus,
    "Tanh": _tanh,
}
