"""TensorFlow's fused kernels for what Keras computes in many passes over memory; on a CPU alone.

Keras composes batch normalisation and the gradient of the swish function from single operations, each a pass over
all activations. XLA joins them on a GPU; on a CPU nothing does, and they take half the time of a step.
"""

from functools import partial
from typing import Any

import keras

from training.network.devices import gpus


def use_fused_kernels(network: keras.Model) -> None:
    """Let a network's layers compute by fused kernels: the same function and gradient, up to rounding.

    The layers stay what they are: weights, configuration and file do not change. On a GPU, on another backend than
    TensorFlow, or in half precision, nothing is done.

    Parameters
    ----------
    network : keras.Model
        Before it becomes part of the model that is fitted.
    """
    if keras.config.backend() != "tensorflow" or gpus():
        return
    for layer in (layer for layer in network.layers if layer.compute_dtype == "float32"):
        if isinstance(layer, keras.layers.BatchNormalization) and len(layer.input.shape) == 4:
            layer.call = partial(_normalise, layer)
        elif isinstance(layer, keras.layers.Activation) and layer.activation is keras.activations.silu:
            layer.call = _swish()


def _normalise(
    layer: keras.layers.BatchNormalization,
    inputs: Any,
    training: bool | None = None,
    mask: None = None,  # noqa: ARG001
) -> Any:
    import tensorflow as tf

    fused = partial(tf.compat.v1.nn.fused_batch_norm, inputs, layer.gamma, layer.beta, epsilon=layer.epsilon)
    if not (training and layer.trainable):
        return fused(mean=layer.moving_mean, variance=layer.moving_variance, is_training=False)[0]
    outputs, mean, variance = fused(is_training=True)
    count = tf.cast(tf.size(inputs) / tf.shape(inputs)[-1], tf.float32)
    variance *= (count - 1) / count  # the kernel's is unbiased, Keras's is the population's
    for moving, new in ((layer.moving_mean, mean), (layer.moving_variance, variance)):
        moving.assign(moving * layer.momentum + new * (1.0 - layer.momentum))
    return outputs


def _swish() -> Any:
    import tensorflow as tf

    @tf.function(jit_compile=True)  # type: ignore[untyped-decorator]
    def gradient(x: Any, upstream: Any) -> Any:
        gate = tf.sigmoid(x)
        return upstream * gate * (1.0 + x * (1.0 - gate))

    @tf.custom_gradient  # type: ignore[untyped-decorator]
    def swish(x: Any) -> Any:
        return tf.nn.silu(x), partial(gradient, x)

    return swish
