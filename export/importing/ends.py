"""The ends of an ONNX classifier: which input takes the image, in what layout, and what its outputs are."""

from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from onnx import ModelProto, TensorProto, ValueInfoProto

from export.errors import ExportError

Layout: TypeAlias = Literal["NCHW", "NHWC", "NHW"]
End: TypeAlias = Literal["sigmoid", "softmax", "logits", "probabilities"]

#: What becomes of the numbers of an output, in words.
IN_WORDS: Final = {
    "sigmoid": "probabilities, by its sigmoid",
    "softmax": "probabilities of labels that exclude each other, by softmax",
    "logits": "logits, to which a sigmoid is added: each label by itself (--ends softmax: they exclude each other)",
    "probabilities": "probabilities",
}

_CHANNELS: Final = (1, 3)
#: Pixels of a side: what is smaller is no image of a body.
_SMALLEST: Final = 32
_FLOATS: Final = {TensorProto.FLOAT: "float32", TensorProto.FLOAT16: "float16", TensorProto.DOUBLE: "float64"}


@dataclass(frozen=True)
class ImageInput:
    """The input of a classifier.

    Attributes
    ----------
    name : str
    layout : str
    channels : int
    element : int
        ONNX's element type.
    size : (int, int)
        Height and width in pixels.
    batch : int or None
        Its fixed length; None where any will do.
    """

    name: str
    layout: Layout
    channels: int
    element: int
    size: tuple[int, int]
    batch: int | None

    @property
    def is_float(self) -> bool:
        """Whether it takes floating-point numbers, whose range a file does not tell."""
        return self.element in _FLOATS


@dataclass(frozen=True)
class Output:
    """The output with a number for each label.

    Attributes
    ----------
    name : str
    logits : str or None
        Name of the tensor before the last activation, where the graph ends with one.
    count : int or None
        How many numbers; None where the graph does not tell.
    end : str or None
        What the last operator makes of them; None where it does not tell.
    """

    name: str
    logits: str | None
    count: int | None
    end: End | None


def image_input(model: ModelProto, size: tuple[int, int] | None) -> ImageInput:
    """Find the input that takes the image.

    Raises
    ------
    ExportError
        There is not exactly one, or it takes no image, or images of any size and `size` is None.
    """
    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in weights]
    if len(inputs) != 1:
        raise ExportError(
            f"expected a model with one input, the image, got {', '.join(i.name for i in inputs) or 'none'}; "
            "export the classifier alone"
        )
    found, element = inputs[0], inputs[0].type.tensor_type.elem_type
    if element not in {*_FLOATS, TensorProto.UINT8}:
        raise ExportError(f"expected the input {found.name!r} in float32 or uint8, got ONNX's type {element}")
    batch, *lengths = _lengths(found)
    layout, channels, (height, width) = _layout(found.name, lengths)
    if size is not None and any(fixed not in (0, wanted) for fixed, wanted in zip((height, width), size, strict=True)):
        raise ExportError(f"{found.name!r} takes images of {height}x{width} pixels alone; leave out --size")
    if size is None and not (height and width):
        raise ExportError(f"{found.name!r} takes images of any size; choose one with --size")
    if min(size or (height, width)) < _SMALLEST:
        raise ExportError(
            f"{found.name!r} has {height}x{width} numbers, no image of {_SMALLEST}x{_SMALLEST} pixels or more; name a "
            "classifier of images"
        )
    if batch > 1:
        raise ExportError(
            f"{found.name!r} takes batches of {batch} images alone; export the model with an open batch, or one of 1"
        )
    return ImageInput(found.name, layout, channels, element, size or (height, width), batch or None)


def _lengths(value: ValueInfoProto) -> list[int]:
    """Return the lengths of a tensor's axes, 0 for an open one."""
    return [dim.dim_value for dim in value.type.tensor_type.shape.dim]


def _layout(name: str, lengths: list[int]) -> tuple[Layout, int, tuple[int, int]]:
    if len(lengths) == 2:
        return "NHW", 1, (lengths[0], lengths[1])
    if len(lengths) == 3 and lengths[0] in _CHANNELS:
        return "NCHW", lengths[0], (lengths[1], lengths[2])
    if len(lengths) == 3 and lengths[2] in _CHANNELS:
        return "NHWC", lengths[2], (lengths[0], lengths[1])
    raise ExportError(
        f"expected {name!r} to take images: (N, 1 or 3, H, W), (N, H, W, 1 or 3) or (N, H, W); got (N, "
        f"{', '.join(str(length or '?') for length in lengths)})"
    )


def labels_output(model: ModelProto, name: str | None) -> Output:
    """Find the output with a number for each label.

    Raises
    ------
    ExportError
        There are several, and none is named; or it is no row of numbers for each image.
    """
    outputs = {output.name: output for output in model.graph.output}
    if name is None and len(outputs) > 1:
        raise ExportError(f"the model has the outputs {', '.join(outputs)}; name that of the labels with --output")
    if name is not None and name not in outputs:
        raise ExportError(f"expected --output to be one of {', '.join(outputs)}, got {name!r}")
    found = outputs[name or next(iter(outputs))]
    lengths = _lengths(found)
    if len(lengths) != 2:
        raise ExportError(f"expected {found.name!r} to have a number for each label, (N, labels), got {lengths}")
    end, logits = _end(model, found.name)
    return Output(found.name, logits, lengths[1] or None, end)


def _end(model: ModelProto, name: str) -> tuple[End | None, str | None]:
    """Return what the last operator makes of the logits, and their name; None where it does not tell."""
    makers = {output: node for node in model.graph.node for output in node.output}
    node = makers.get(name)
    while node is not None and node.op_type in ("Identity", "Cast"):
        node = makers.get(node.input[0])
    if node is None:
        return None, None
    if node.op_type in ("Sigmoid", "Softmax"):
        return ("sigmoid" if node.op_type == "Sigmoid" else "softmax"), str(node.input[0])
    # A sum may also be a mean of probabilities; of a dense layer, one side is its bias.
    constants = {tensor.name for tensor in model.graph.initializer}
    constants |= {output for node in model.graph.node if node.op_type == "Constant" for output in node.output}
    is_dense = node.op_type in ("Gemm", "MatMul") or (node.op_type == "Add" and constants.intersection(node.input))
    return ("logits", name) if is_dense else (None, None)


def end_of(output: Output, stated: End | None) -> End:
    """Return what an output has, by its graph and by what the user states.

    Raises
    ------
    ExportError
        Neither tells, or they contradict each other.
    """
    if output.end is None and stated is None:
        raise ExportError(
            f"{output.name!r} does not end with an operator that tells whether it has logits or probabilities; "
            "say which with --ends"
        )
    certain = output.end if output.end in ("sigmoid", "softmax") else None
    if certain is not None and stated not in (None, certain, "probabilities"):
        raise ExportError(f"{output.name!r} ends with {certain}, which gives probabilities; leave out --ends {stated}")
    # What ends with a dense layer may hold probabilities all the same.
    return certain or stated or "logits"
