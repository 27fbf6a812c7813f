"""The devices and the precision of a fit: all GPUs of this host, or the CPU."""

from collections.abc import Iterator
from contextlib import contextmanager

import keras


def gpus() -> list[str]:
    """List this host's GPUs, like ``gpu:0``."""
    return [device for device in keras.distribution.list_devices() if device.startswith("gpu")]


def dtype_policy() -> str:
    """Return the precision of a fit: half on a GPU; a CPU is slower in half than in single."""
    return "mixed_float16" if gpus() else "float32"


@contextmanager
def shared_among(devices: list[str]) -> Iterator[None]:
    """Share each batch among devices of this host, where there are several.

    On TensorFlow by ``MirroredStrategy``, on JAX by ``keras.distribution.DataParallel``.

    Parameters
    ----------
    devices : list of str
        See `gpus`.
    """
    if len(devices) < 2:
        yield
    elif keras.config.backend() == "tensorflow":
        import tensorflow as tf

        with tf.distribute.MirroredStrategy(devices).scope():
            yield
    else:
        before = keras.distribution.distribution()
        keras.distribution.set_distribution(keras.distribution.DataParallel(devices=devices))
        try:
            yield
        finally:
            keras.distribution.set_distribution(before)
