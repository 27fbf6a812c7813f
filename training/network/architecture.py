"""The network: a backbone, global average pooling, and a head of dense layers."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
from keras import layers

from training.errors import FitError
from training.recipe import Network

POOLING = "gap"
LOGITS = "logits"
PROBABILITIES = "probabilities"

#: Mean and variance of ImageNet's grey levels from 0 to 1, by channel, as its networks were trained with.
_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
#: Means of the levels from 0 to 255, blue first, of the networks that Caffe's convention comes from.
_CAFFE_MEAN = (103.939, 116.779, 123.68)


def build_network(labels: int, size: int = 224, how: Network | None = None, *, imagenet: bool = False) -> keras.Model:
    """Build the classifier as one flat Keras model.

    Backbone → GAP → (Dense ReLU → Dropout) for each layer of the head → Dense → sigmoid. The design's is
    EfficientNetB0 with Dense 512, Dropout .3, Dense 256, Dropout .2. The one normalisation is the backbone's, so the
    input takes 0 to 255. Under the ``mixed_float16`` policy the head computes in float32.

    Parameters
    ----------
    labels : int
        How many there are.
    size : int
        Side of the input in pixels.
    how : Network, optional
        The design's, if left out.
    imagenet : bool
        Start from Keras's ImageNet weights (downloads them).

    Returns
    -------
    keras.Model
        (N, size, size, 1) float32 grey levels 0..255 → (N, labels) float32 probabilities. The layers
        `POOLING`, `LOGITS` and `PROBABILITIES` are named.
    """
    how = how or Network()
    image = keras.Input((size, size, 1), name="image")
    colour = layers.Concatenate(name="grey_to_rgb")([image, image, image])
    x = _backbone(how.backbone, colour, "imagenet" if imagenet else None)
    x = layers.GlobalAveragePooling2D(name=POOLING, dtype="float32")(x)
    for number, (width, dropout) in enumerate(zip(how.head, how.dropout, strict=True), 1):
        x = layers.Dense(width, activation="relu", name=f"fc{number}", dtype="float32")(x)
        x = layers.Dropout(dropout, name=f"drop{number}", dtype="float32")(x)
    x = layers.Dense(labels, name=LOGITS, dtype="float32")(x)
    x = layers.Activation("sigmoid", name=PROBABILITIES, dtype="float32")(x)
    return keras.Model(image, x, name=network_name(how.backbone))


def network_name(backbone: str) -> str:
    """Return the name of a classifier with a backbone, by which its file tells the backbone."""
    return f"cxr_{backbone.lower()}"


def _backbone(name: str, colour: Any, weights: str | None) -> Any:
    """Return the last features of a backbone; those without a normalisation of their own get that of their weights."""
    if name == "DenseNet121":
        scaled = layers.Rescaling(1 / 255, name="levels")(colour)
        offset = [-mean / deviation for mean, deviation in zip(_MEAN, _DEVIATION, strict=True)]
        colour = layers.Rescaling([1 / d for d in _DEVIATION], offset=offset, name="normalised")(scaled)
    elif name == "ResNet50":
        colour = layers.Rescaling(1.0, offset=[-mean for mean in _CAFFE_MEAN], name="normalised")(colour)
    built = getattr(keras.applications, name)(include_top=False, weights=weights, input_tensor=colour)
    return built.output


def last_convolution(network: keras.Model) -> layers.Layer:
    """Return the layer whose output is pooled: the features of the heat maps.

    Raises
    ------
    FitError
        It is no network of this package.
    """
    names = {layer.name for layer in network.layers}
    if not {POOLING, LOGITS} <= names:
        raise FitError(f"expected a network of this package, with the layers {POOLING} and {LOGITS}")
    pooled = network.get_layer(POOLING).input
    return next(layer for layer in network.layers if layer.output is pooled)


def round_kernels_to_half(network: keras.Model) -> None:
    """Round every kernel to a value that float16 can hold, in place.

    The shipped weights are then the same in any precision of storage. Biases and BatchNorm
    statistics stay in float32: small variances fall below float16's normal range.

    Raises
    ------
    FitError
        A weight is not a number, or a kernel is too large for float16.
    """
    weights = network.get_weights()
    if not all(np.isfinite(weight).all() for weight in weights):
        raise FitError("a weight is not a number; lower the learning rate")
    largest = max(float(np.abs(weight).max()) for weight in weights if weight.ndim > 1)
    if largest > float(np.finfo(np.float16).max):
        raise FitError(f"a kernel holds {largest:.1e}, beyond half precision; lower the learning rate")
    network.set_weights([w.astype(np.float16).astype(w.dtype) if w.ndim > 1 else w for w in weights])


def set_weights(network: keras.Model, weights: Sequence[npt.NDArray[Any]]) -> None:
    """Set all weights of a model.

    Keras's own ``set_weights`` alone leaves a Normalization layer computing with the mean and variance
    it had before: they are derived from its weights only by ``finalize_state``.
    """
    network.set_weights(weights)
    for layer in network.layers:
        if isinstance(layer, keras.layers.Normalization):
            layer.finalize_state()


def at_size(network: keras.Model, size: int) -> keras.Model:
    """Return the same model for images of another size, its backbone under the current precision policy.

    It is rebuilt from its own layers. A network built anew can differ from the one the weights
    belong to: with Keras's ImageNet weights it has one more Rescaling layer, which has no weights.

    Parameters
    ----------
    network : keras.Model
    size : int
        Side in pixels, a multiple of 32: EfficientNet pads odd and even sides differently.
    """
    config = network.get_config()
    names, last = [layer["name"] for layer in config["layers"]], last_convolution(network).name
    for place, layer in enumerate(config["layers"]):
        if layer["class_name"] == "InputLayer":
            layer["config"]["batch_shape"] = (None, size, size, 1)
        layer.pop("build_config", None)
        if place <= names.index(last):
            _set_policies(layer, keras.config.dtype_policy().name)
    return _rebuilt(network, config)


def to_float32(network: keras.Model) -> keras.Model:
    """Return a model whose every layer computes in float32, whatever policy it was trained under.

    Half precision is slow on a CPU, and exporting a mixed_float16 model as it is leaves a Cast
    around every layer: lower precision is made from the float32 graph instead. A model that
    computes in float32 already is returned as it is.
    """
    if all(layer.compute_dtype == "float32" for layer in network.layers):
        return network
    config = network.get_config()
    _set_policies(config, "float32")
    return _rebuilt(network, config)


def _rebuilt(network: keras.Model, config: dict[str, Any]) -> keras.Model:
    rebuilt = type(network).from_config(config)
    set_weights(rebuilt, network.get_weights())
    return rebuilt


def _set_policies(config: Any, name: str) -> None:
    if isinstance(config, dict):
        if config.get("class_name") == "DTypePolicy":
            config["config"] = {"name": name}
        for value in config.values():
            _set_policies(value, name)
    elif isinstance(config, list | tuple):
        for value in config:
            _set_policies(value, name)
