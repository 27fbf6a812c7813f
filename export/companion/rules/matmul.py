"""Products of matrices."""

from typing import Final

from export.companion.step import Back, Rule, Step


def _matmul(step: Step) -> Back:
    """∂/∂x = c wᵀ and ∂/∂w = xᵀ c, over the last two axes."""
    w, (left, right) = step.writer, step.node.input
    if min(step.rank(left), step.rank(right)) < 2:
        raise step.refusal("an operand is a vector")
    if step.rank(right) == 2 and step.is_active(1):
        raise step.refusal("it mixes the images of a batch")
    last = step.rank(step.y) - 1
    back = {}
    if step.is_active(0):
        whole = _whole_along(step, last)
        back[0] = _unbroadcast(step, w.op("MatMul", whole, _transposed(step, right)), 0)
    if step.is_active(1):
        whole = _whole_along(step, last - 1)
        back[1] = _unbroadcast(step, w.op("MatMul", _transposed(step, left), whole), 1)
    return back


def _whole_along(step: Step, axis: int) -> str:
    """Return the cotangent with the axis written out that the product sums over."""
    lengths = [1] * len(step.lengths(step.y))
    lengths[axis - 1] = step.lengths(step.y)[axis - 1]
    if step.writer.shape(step.cotangent)[axis + 1] == lengths[axis - 1]:
        return step.cotangent
    return step.writer.op("Expand", step.cotangent, step.writer.integers(1, 1, *lengths))


def _transposed(step: Step, name: str) -> str:
    """Return an operand, its last two axes exchanged, as it stands beside the cotangent."""
    lifted = step.lift_operand(name) if step.rank(name) > 2 or step.writer.value(name) is None else name
    *before, rows, columns = range(step.rank(lifted))
    return step.writer.op("Transpose", lifted, perm=[*before, columns, rows])


def _unbroadcast(step: Step, cotangent: str, position: int) -> str:
    """Sum over the axes before the last two along which an operand was broadcast."""
    before, after = (step.writer.shape(name) for name in (step.node.input[position], step.y))
    if len(before) != len(after):
        raise step.refusal(f"{step.node.input[position]!r} has other axes than the result")
    axes = [axis for axis in range(1, len(after) - 2) if before[axis] == 1 and after[axis] != 1]
    return step.sum(cotangent, axes, step.y) if axes else cotangent


def _gemm(step: Step) -> Back:
    if step.attributes.get("transA", 0):
        raise step.refusal("it mixes the images of a batch")
    w, weights = step.writer, step.node.input[1]
    if not step.attributes.get("transB", 0):
        weights = w.op("Transpose", weights, perm=[1, 0])
    product = w.op("MatMul", step.full_cotangent, weights)
    alpha = step.attributes.get("alpha", 1.0)
    return {0: product if alpha == 1 else w.op("Mul", product, w.constant(alpha))}


RULES: Final[dict[str, Rule]] = {"Gemm": _gemm, "MatMul": _matmul}
