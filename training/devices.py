"""Where a fit computes: the precision, and all GPUs of this host."""

from collections.abc import Iterator
from contextlib import contextmanager

import keras


def dtype_policy() -> str:
    """Give the precision a fit computes in: half on a GPU; a CPU is slower in half than in single."""
    return "mixed_float16" if keras.distribution.list_devices("gpu") else "float32"


@contextmanager
def all_devices() -> Iterator[None]:
    """Share each batch among the GPUs of this host, where there are several.

    On TensorFlow by ``MirroredStrategy``, on JAX by ``keras.distribution.DataParallel``.
    """
    gpus = keras.distribution.list_devices("gpu")
    if len(gpus) < 2:
        yield
    elif keras.config.backend() == "tensorflow":
        import tensorflow as tf

        with tf.distribute.MirroredStrategy().scope():
            yield
    else:
        before = keras.distribution.distribution()
        keras.distribution.set_distribution(keras.distribution.DataParallel(devices=gpus))
        try:
            yield
        finally:
            keras.distribution.set_distribution(before)
