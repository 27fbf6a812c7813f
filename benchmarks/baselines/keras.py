"""Keras on TensorFlow: ``predict``, ``model(x)``, ``tf.function``, Grad-CAM by ``GradientTape``."""

import os
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from benchmarks.baselines import KERAS_MODEL
from benchmarks.baselines.images import read_arrays, read_grey, shrink
from cxr_edge.support.parallel import usable_cores

#: Images that are in memory at the same time, so that a large directory does not need memory without bound.
BLOCK = 1024
BATCH = 32
LAST_CONVOLUTION = "top_activation"

Probabilities = npt.NDArray[np.float32]


class Directory:
    """Files → probabilities: ``cv2.imread`` of every image, then ``predict`` in batches of 32."""

    def __init__(self, images: list[str]) -> None:
        self._images = images
        self._network = _load()
        self.work = len(images)
        self.settings = {"call": f"cv2.imread, model.predict(batch_size={BATCH})", **_threads()}

    def run(self) -> Probabilities:
        """Read and predict the images, block by block."""
        blocks = (self._images[start : start + BLOCK] for start in range(0, len(self._images), BLOCK))
        return np.concatenate([self._predict(block) for block in blocks])

    def _predict(self, images: list[str]) -> Probabilities:
        batch = np.stack([read_grey(image) for image in images])[..., np.newaxis].astype(np.float32)
        return np.asarray(self._network.predict(batch, batch_size=BATCH, verbose=0))


class Dataset:
    """Files → probabilities: ``tf.data`` reads ahead on all cores while ``predict`` computes batches of 32."""

    def __init__(self, images: list[str]) -> None:
        self._images = images
        self._network = _load()
        self.work = len(images)
        self.settings = {
            "call": f"tf.data map(AUTOTUNE) batch({BATCH}) prefetch(AUTOTUNE), model.predict(dataset)",
            **_threads(),
        }

    def run(self) -> Probabilities:
        """Predict the whole data set."""

        def read(path: tf.Tensor) -> tf.Tensor:
            image = tf.numpy_function(lambda name: read_grey(name.decode())[..., np.newaxis], [path], tf.uint8)
            return tf.cast(tf.ensure_shape(image, (224, 224, 1)), tf.float32)

        images = tf.data.Dataset.from_tensor_slices(self._images).map(read, num_parallel_calls=tf.data.AUTOTUNE)
        return np.asarray(self._network.predict(images.batch(BATCH).prefetch(tf.data.AUTOTUNE), verbose=0))


class Array:
    """One decoded image → probabilities, by one of three calls."""

    def __init__(self, images: list[str], call: str) -> None:
        network = _load()
        compiled = tf.function(lambda x: network(x, training=False), reduce_retracing=True)
        calls: dict[str, Callable[[Probabilities], Any]] = {
            "model.predict(x)": lambda x: network.predict(x, verbose=0),
            "model(x)": lambda x: network(x, training=False),
            "tf.function(model)(x)": lambda x: compiled(tf.constant(x)),
        }
        self._call = calls[call]
        self._arrays = read_arrays(images)
        self.work = len(images)
        self.settings = {"call": call, **_threads()}

    def run(self) -> Probabilities:
        """Predict one image after the other."""
        return np.concatenate([np.asarray(self._call(_batch_of_one(array))) for array in self._arrays])


class GradientTape:
    """One decoded image → probabilities and the Grad-CAM maps of the 3 most probable labels, with a tape for each."""

    def __init__(self, images: list[str], top: int = 3) -> None:
        network = _load()
        self._network = keras.Model(network.input, [network.get_layer(LAST_CONVOLUTION).output, network.output])
        self._arrays = read_arrays(images)
        self._top = top
        self.work = len(images)
        self.settings = {"call": f"tf.GradientTape over model(x), once per label, top {top}", **_threads()}

    def run(self) -> Probabilities:
        """Predict and explain one image after the other."""
        return np.concatenate([self._explain(_batch_of_one(array)) for array in self._arrays])

    def _explain(self, x: Probabilities) -> Probabilities:
        _, probabilities = self._network(x, training=False)
        values = np.asarray(probabilities)
        for label in np.argsort(values[0])[::-1][: self._top]:
            self._map(x, int(label))
        return values

    def _map(self, x: Probabilities, label: int) -> npt.NDArray[np.float32]:
        """Compute Grad-CAM (Selvaraju et al. 2017): activations weighted by the mean gradient of their channel."""
        with tf.GradientTape() as tape:
            activations, probabilities = self._network(x, training=False)
            score = probabilities[:, label]
        weights = tf.reduce_mean(tape.gradient(score, activations), axis=(1, 2))
        return np.asarray(tf.nn.relu(tf.einsum("nhwc,nc->nhw", activations, weights)))


def _load() -> keras.Model:
    return keras.models.load_model(KERAS_MODEL, compile=False)


def _batch_of_one(image: npt.NDArray[np.uint8]) -> Probabilities:
    return shrink(image)[np.newaxis, ..., np.newaxis].astype(np.float32)


def _threads() -> dict[str, Any]:
    return {
        "threads": f"TensorFlow's default ({usable_cores()} cores)",
        "onednn": os.environ.get("TF_ENABLE_ONEDNN_OPTS", "default"),
    }
