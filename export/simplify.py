"""Removal of what the converter leaves and no answer needs: grey in three channels, shapes that are restored."""

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
import onnx
from onnx import ModelProto, NodeProto, helper, numpy_helper
from onnx.utils import Extractor

from cxr_edge.backends import open_graph

LEVELS: Final = 256

#: Largest difference from a straight line, relative to its span, that rounding in float32 explains.
_STRAIGHT: Final = 1e-6


class _Line(NamedTuple):
    """What the network makes of a grey level before its first convolution: ``slope * (level - zero)``."""

    slope: float
    zero: float


def simplify(model: ModelProto) -> ModelProto:
    """Simplify a network in place, where its answers stay the same but for rounding.

    A grey image that is repeated over three channels, all scaled alike, becomes one channel, and the kernel of the
    first convolution becomes its sum over them: the padding outside the image is 0 after the scaling in both. A
    shape that is squeezed and restored is kept instead.

    Parameters
    ----------
    model : onnx.ModelProto
        One input, (N, H, W) uint8.

    Returns
    -------
    onnx.ModelProto
        `model`.
    """
    _keep_shapes(model)
    _fold_grey(model)
    _drop_unused(model)
    return model


def _fold_grey(model: ModelProto) -> None:
    graph = model.graph
    first = next(index for index, node in enumerate(graph.node) if node.op_type == "Conv")
    stem, image = graph.node[first], graph.input[0].name
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True)
    line = _line_of_levels(Extractor(inferred).extract_model([image], [stem.input[0]]))
    if line is None:
        return
    kernel = next(i for i in graph.initializer if i.name == stem.input[1])
    summed = numpy_helper.to_array(kernel).sum(axis=1, keepdims=True, dtype=np.float64).astype(np.float32)
    constants = {
        "grey/axis": np.array([1], np.int64),
        "grey/zero": np.float32(line.zero),
        "grey/slope": np.float32(line.slope),
        "grey/kernel": summed,
    }
    graph.initializer.extend(numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items())
    stem.input[:2] = ["grey/scaled", "grey/kernel"]
    del graph.node[:first]
    for node in reversed(
        [
            # TensorRT does nothing with uint8 but cast it.
            helper.make_node("Cast", [image], ["grey/levels"], to=onnx.TensorProto.FLOAT),
            helper.make_node("Unsqueeze", ["grey/levels", "grey/axis"], ["grey/channel"]),
            helper.make_node("Sub", ["grey/channel", "grey/zero"], ["grey/centred"]),
            helper.make_node("Mul", ["grey/centred", "grey/slope"], ["grey/scaled"]),
        ]
    ):
        graph.node.insert(0, node)


def _line_of_levels(front: ModelProto) -> _Line | None:
    """Run every grey level through the front of the network; None where channels differ, or it is not a line."""
    image = front.graph.input[0]
    height, width = (d.dim_value for d in image.type.tensor_type.shape.dim[1:])
    levels = np.resize(np.arange(LEVELS, dtype=np.uint8), (1, height, width))
    name = front.graph.output[0].name
    (shown,) = open_graph(front.SerializeToString()).run([name], {image.name: levels})
    channels = shown[0].reshape(len(shown[0]), -1)[:, :LEVELS].astype(np.float64)
    slope = float(channels[0, -1] - channels[0, 0]) / (LEVELS - 1)
    if slope == 0 or not (channels == channels[0]).all():
        return None
    zero = float(-channels[0, 0] / slope)
    return _Line(slope, zero) if _is_straight(channels[0], _Line(slope, zero)) else None


def _is_straight(shown: npt.NDArray[np.float64], line: _Line) -> bool:
    expected = line.slope * (np.arange(LEVELS) - line.zero)
    return bool(np.abs(shown - expected).max() <= _STRAIGHT * abs(line.slope) * LEVELS)


def _keep_shapes(model: ModelProto) -> None:
    """Bypass a Squeeze and the Reshape that undoes it: they break the blocked layout of ONNX Runtime's convolutions."""
    graph = model.graph
    shapes = _shapes(model)
    made_by = {name: node for node in graph.node for name in node.output}
    for reshape in [node for node in graph.node if node.op_type == "Reshape"]:
        squeeze = made_by.get(reshape.input[0])
        if squeeze is None or squeeze.op_type != "Squeeze":
            continue
        before = shapes.get(squeeze.input[0])
        if before is not None and before == shapes.get(reshape.output[0]):
            _read_instead(graph.node, reshape.output[0], squeeze.input[0])


def _shapes(model: ModelProto) -> dict[str, tuple[int, ...]]:
    """Return the inferred lengths of every tensor without its first, the batch, where all of them are known."""
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True).graph.value_info
    lengths = {v.name: [d.dim_value for d in v.type.tensor_type.shape.dim] for v in inferred}
    return {name: tuple(found[1:]) for name, found in lengths.items() if len(found) > 1 and all(found[1:])}


def _read_instead(nodes: list[NodeProto], old: str, new: str) -> None:
    for node in nodes:
        node.input[:] = [new if name == old else name for name in node.input]


def _drop_unused(model: ModelProto) -> None:
    """Drop nodes and constants that nothing reads any more, and shapes recorded for dropped tensors."""
    graph = model.graph
    while True:
        read = {name for node in graph.node for name in node.input} | {output.name for output in graph.output}
        unused = [node for node in graph.node if not read & set(node.output)]
        if not unused:
            break
        for node in unused:
            graph.node.remove(node)
    kept = [initializer for initializer in graph.initializer if initializer.name in read]
    del graph.initializer[:]
    graph.initializer.extend(kept)
    del graph.value_info[:]
