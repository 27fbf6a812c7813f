"""Dense layers on tokens: Keras's are written with the tokens of all images in one axis, and are written anew here."""

from onnx import ModelProto, NodeProto

from export.companion.nodes import lengths_of


def keep_tokens_apart(model: ModelProto) -> None:
    """Write Reshape, MatMul, Reshape as one MatMul of (N, ..., K), where that is what they compute, in place.

    A gradient needs an axis for the labels of an image beside that of the images. Nodes that nothing reads any more
    stay.
    """
    made_by = {name: node for node in model.graph.node for name in node.output}
    lengths = lengths_of(model) | {tensor.name: list(tensor.dims) for tensor in model.graph.initializer}
    for last in model.graph.node:
        product = made_by.get(last.input[0]) if last.op_type == "Reshape" else None
        first = made_by.get(product.input[0]) if product is not None and product.op_type == "MatMul" else None
        if product is None or first is None or first.op_type != "Reshape":
            continue
        before, after, weights = (lengths.get(name) for name in (first.input[0], last.output[0], product.input[1]))
        if before and after and weights and _is_dense(before, after, weights):
            _become_product(last, first.input[0], product.input[1])


def _is_dense(before: list[int], after: list[int], weights: list[int]) -> bool:
    """Return whether (N, ..., K) becomes (N, ..., M) by weights (K, M)."""
    rows = [before[-1], after[-1]]
    return len(before) > 2 and 0 not in before[1:] and before[1:-1] == after[1:-1] and weights == rows


def _become_product(node: NodeProto, x: str, weights: str) -> None:
    node.op_type = "MatMul"
    node.input[:] = [x, weights]
    del node.attribute[:]
