"""The number of floating-point operations of a network for one image, counted from its graph."""

import math

import onnx


def count_flops(graph: bytes) -> int:
    """Count the operations of a batch of one in Conv, Gemm and MatMul, 2 for each multiply-add.

    Everything else (activations, pooling, scaling) is left out: a share of the peak that is computed
    from this count is therefore a lower bound.

    Parameters
    ----------
    graph : bytes
        A serialised ONNX model of one input, whose first axis is the batch.

    Raises
    ------
    ValueError
        The shape of a tensor cannot be inferred.
    """
    model = onnx.load_from_string(graph)
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    model = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
    shapes = {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}
    for value in (*model.graph.input, *model.graph.value_info, *model.graph.output):
        shapes[value.name] = tuple(dim.dim_value for dim in value.type.tensor_type.shape.dim)
    return sum(_flops(node, shapes) for node in model.graph.node)


def _flops(node: onnx.NodeProto, shapes: dict[str, tuple[int, ...]]) -> int:
    if node.op_type not in {"Conv", "Gemm", "MatMul"}:
        return 0
    left, right = (shapes.get(name, ()) for name in node.input[:2])
    result = math.prod(_known(node, shapes.get(node.output[0], ())))
    if node.op_type == "Conv":
        return 2 * result * math.prod(right[1:])  # weights: (out, in / groups, height, width)
    transposed = node.op_type == "Gemm" and any(a.name == "transA" and a.i for a in node.attribute)
    return 2 * result * _known(node, left)[0 if transposed else -1]


def _known(node: onnx.NodeProto, shape: tuple[int, ...]) -> tuple[int, ...]:
    # A batch axis that shape inference lost has a name instead of a size, and reads as 0.
    if not shape or any(dim < 1 for dim in shape[1:]):
        raise ValueError(f"expected known shapes at {node.op_type} {node.name!r}, got {shape}; simplify the graph")
    return (shape[0] or 1, *shape[1:])
