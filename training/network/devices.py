"""The devices and the precision of a fit: all GPUs of this host, or the CPU."""

from collections.abc import Iterator
from contextlib import contextmanager

import keras

from training.errors import FitError


def choose_device(device: str) -> None:
    """Let a fit see the GPUs or not; before anything is computed.

    Parameters
    ----------
    device : str
        ``auto``, ``cpu`` or ``gpu``.

    Raises
    ------
    FitError
        A GPU is asked for, and the framework finds none.
    """
    if device == "cpu":
        if keras.config.backend() == "tensorflow":
            import tensorflow as tf

            tf.config.set_visible_devices([], "GPU")
        else:
            import jax

            jax.config.update("jax_platforms", "cpu")  # type: ignore[no-untyped-call]
    elif device == "gpu" and not gpus():
        raise FitError(
            f"expected a GPU, {keras.config.backend()} finds none; install the group training-gpu and the driver, or "
            "choose --device cpu"
        )


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
