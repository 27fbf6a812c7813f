"""The network: EfficientNetB0, global average pooling, and a head of three dense layers."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
from keras import layers

from training.errors import FitError

LAST_CONVOLUTION = "top_activation"
LOGITS = "logits"
PROBABILITIES = "probabilities"

#: Pixels of the image for one position of the last convolution, along each side.
STRIDE = 32


def build_network(labels: int, size: int = 224, imagenet: bool = False) -> keras.Model:
    """Build the classifier as one flat Keras model.

    EfficientNetB0 → GAP → Dense 512 ReLU → Dropout .3 → Dense 256 ReLU → Dropout .2 →
    Dense → sigmoid. The one normalisation is EfficientNet's own, so the input takes 0 to 255.
    Under the ``mixed_float16`` policy the head computes in float32.

    Parameters
    ----------
    labels : int
        How many there are.
    size : int
        Side of the input in pixels.
    imagenet : bool
        Start from Keras's ImageNet weights (downloads them).

    Returns
    -------
    keras.Model
        (N, size, size, 1) float32 grey levels 0..255 → (N, labels) float32 probabilities. The layers
        `LAST_CONVOLUTION`, `LOGITS` and `PROBABILITIES` are named.
    """
    image = keras.Input((size, size, 1), name="image")
    colour = layers.Concatenate(name="grey_to_rgb")([image, image, image])
    backbone = keras.applications.EfficientNetB0(
        include_top=False, weights="imagenet" if imagenet else None, input_tensor=colour
    )
    x = backbone.get_layer(LAST_CONVOLUTION).output
    x = layers.GlobalAveragePooling2D(name="gap", dtype="float32")(x)
    x = layers.Dense(512, activation="relu", name="fc1", dtype="float32")(x)
    x = layers.Dropout(0.3, name="drop1", dtype="float32")(x)
    x = layers.Dense(256, activation="relu", name="fc2", dtype="float32")(x)
    x = layers.Dropout(0.2, name="drop2", dtype="float32")(x)
    x = layers.Dense(labels, name=LOGITS, dtype="float32")(x)
    x = layers.Activation("sigmoid", name=PROBABILITIES, dtype="float32")(x)
    return keras.Model(image, x, name="cxr_efficientnetb0")


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
    names = [layer["name"] for layer in config["layers"]]
    for place, layer in enumerate(config["layers"]):
        if layer["class_name"] == "InputLayer":
            layer["config"]["batch_shape"] = (None, size, size, 1)
        layer.pop("build_config", None)
        if place <= names.index(LAST_CONVOLUTION):
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
