"""From gradients to class activation maps: ReLU(Σ_k weight_k A_k), with the weights of a method."""

from typing import Final, Literal, TypeAlias, get_args

from export.companion.features import Features
from export.companion.writer import Writer

#: ``layercam`` weights a channel at each position by its positive gradient there (Jiang et al. 2021, "LayerCAM"),
#: ``gradcam`` by the mean of its gradient over the positions (Selvaraju et al. 2017, "Grad-CAM").
Method: TypeAlias = Literal["layercam", "gradcam"]
METHODS: Final = get_args(Method)


def write_maps(writer: Writer, gradient: str, features: Features, method: Method) -> str:
    """Write the maps of all labels.

    Parameters
    ----------
    writer : Writer
    gradient : str
        (N, labels, *features without the batch); of length 1 where it is the same along an axis.
    features : Features
    method : Method

    Returns
    -------
    str
        (N, labels, h, w) float32, not normalised.
    """
    axes = [axis + 1 for axis in features.position_axes]
    if method == "layercam":
        return write_weighted(writer, writer.op("Relu", gradient), features)
    alike = _is_alike(writer, gradient, axes)
    return write_weighted(
        writer, gradient if alike else writer.op("ReduceMean", gradient, axes=axes, keepdims=1), features
    )


def write_weighted(writer: Writer, weights: str, features: Features) -> str:
    """Write ReLU(Σ_k weight_k A_k), (N, labels, h, w); `weights` are as a gradient is in `write_maps`."""
    axes = [axis + 1 for axis in features.position_axes]
    if _is_alike(writer, weights, axes):
        return writer.op("Relu", _weighted_alike(writer, weights, features))
    values = writer.op("Unsqueeze", features.name, writer.integers(1))
    channels = writer.integers(features.channel_axis + 1)
    return writer.op("Relu", writer.op("ReduceSum", writer.op("Mul", weights, values), channels, keepdims=0))


def _is_alike(writer: Writer, weights: str, axes: list[int]) -> bool:
    """Return whether weights are the same at every position."""
    shape = writer.shape(weights)
    return all(shape[axis] == 1 for axis in axes)


def _weighted_alike(writer: Writer, weights: str, features: Features) -> str:
    """Weight every position alike: for each image one product of matrices, (labels, K) and (K, h w)."""
    (height, width), channels = features.grid, features.channels
    by_label = writer.op("Reshape", weights, writer.integers(0, 0, -1))
    if writer.shape(by_label)[2] == 1:
        by_label = writer.op("Expand", by_label, writer.integers(1, 1, channels))
    if features.layout == "channels_last":
        flat = writer.op("Reshape", features.name, writer.integers(0, height * width, channels))
        by_channel = writer.op("Transpose", flat, perm=[0, 2, 1])
    else:
        by_channel = writer.op("Reshape", features.name, writer.integers(0, channels, height * width))
    return writer.op("Reshape", writer.op("MatMul", by_label, by_channel), writer.integers(0, 0, height, width))
