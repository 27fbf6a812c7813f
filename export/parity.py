"""The parity gate: the ONNX graphs against Keras on real images, within stated tolerances."""

from dataclasses import asdict, dataclass

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from cxr_edge.backends import Resources, open_graph
from cxr_edge.model.tta import make_variants
from cxr_edge.support.parallel import usable_cores
from export.errors import ExportError
from export.network_graph import TENSORS
from training.network.architecture import LAST_CONVOLUTION, LOGITS, PROBABILITIES
from training.network.tta import VARIANTS


@dataclass(frozen=True)
class Differences:
    """Largest differences between two runtimes over some images.

    Attributes
    ----------
    probabilities : float
        Absolute.
    logits, features : float
        Relative to the largest of that variant, or to 1 where that is smaller: the rounding of a sum
        grows with its terms, and these with the size of the image and the length of the fit.
    maps : float
        Relative to the largest value of that label's map in that variant, or to `FLOOR` of the largest
        over all labels where the label's own is smaller: a sum of a thousand terms that nearly cancel
        carries the rounding of its terms.
    """

    probabilities: float
    logits: float
    features: float
    maps: float


FLOOR = 1e-2

#: Against Keras in float32, the maps against ``tf.GradientTape``.
TOLERANCES = Differences(probabilities=1e-4, logits=1e-4, features=1e-4, maps=1e-4)


class ParityError(ExportError):
    """The exported graphs do not compute what the Keras model computes."""


def measure(network: keras.Model, model: bytes, gradcam: bytes, images: npt.NDArray[np.uint8]) -> Differences:
    """Compare on all TTA variants of the images.

    Both sides get the maps from the same last convolution: the sign of a ReLU's input that is
    zero but for rounding would otherwise decide.

    Parameters
    ----------
    network : keras.Model
        float32.
    model, gradcam : bytes
        The serialised graphs.
    images : ndarray, (N, H, W) uint8
        Pre-processed.
    """
    runtime, companion = (open_graph(graph, resources=Resources(threads=usable_cores())) for graph in (model, gradcam))
    layers = (PROBABILITIES, LOGITS, LAST_CONVOLUTION)
    reference = keras.Model(network.input, [network.get_layer(name).output for name in layers])
    head = keras.Model(network.get_layer(LAST_CONVOLUTION).output, network.get_layer(LOGITS).output)
    worst = np.zeros(4)
    for image in images:
        variants = make_variants(image, VARIANTS)
        found = runtime.run([TENSORS.probabilities, TENSORS.logits, TENSORS.features], {TENSORS.image: variants})
        expected = [np.asarray(v) for v in reference(variants[..., np.newaxis].astype(np.float32), training=False)]
        (maps,) = companion.run([TENSORS.maps], {TENSORS.features: found[2]})
        probabilities = float(np.abs(found[0] - expected[0]).max())
        scaled = [_scaled(f, e) for f, e in zip(found[1:], expected[1:], strict=True)]
        worst = np.maximum(worst, [probabilities, *scaled, _relative(maps, gradient_tape_maps(head, found[2]))])
    return Differences(*worst.tolist())


def require_parity(differences: Differences) -> None:
    """Raise `ParityError` where a difference is over its tolerance, or not a number."""
    for name, found in asdict(differences).items():
        tolerance = asdict(TOLERANCES)[name]
        if not found <= tolerance:
            raise ParityError(
                f"{name} differ from Keras by {found:.3g}, over the tolerance of {tolerance:g}; no bundle is written. "
                "The maps of a network that was hardly fitted can differ by rounding alone: fit it longer"
            )


def gradient_tape_maps(head: keras.Model, last_conv: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Compute Grad-CAM by automatic differentiation: the oracle.

    Parameters
    ----------
    head : keras.Model
        last_conv → logits.
    last_conv : ndarray, (N, h, w, K) float32

    Returns
    -------
    ndarray, (N, C, h, w) float32
    """
    activation = tf.constant(last_conv)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(activation)
        logits = tf.unstack(head(activation, training=False), axis=1)
    maps = []
    for logit in logits:
        alpha = tf.reduce_mean(tape.gradient(logit, activation), axis=(1, 2))
        maps.append(tf.nn.relu(tf.einsum("nhwk,nk->nhw", activation, alpha)))
    return np.asarray(tf.stack(maps, axis=1))


def _scaled(found: npt.NDArray[np.float32], expected: npt.NDArray[np.float32]) -> float:
    of_variant = tuple(range(1, expected.ndim))
    scale = np.maximum(np.abs(expected).max(axis=of_variant, keepdims=True), 1)
    return float((np.abs(found - expected) / scale).max())


def _relative(found: npt.NDArray[np.float32], expected: npt.NDArray[np.float32]) -> float:
    of_label = expected.max(axis=(2, 3), keepdims=True)
    floor = FLOOR * expected.max(axis=(1, 2, 3), keepdims=True)
    scale = np.maximum(np.maximum(of_label, floor), np.finfo(np.float32).tiny)
    return float((np.abs(found - expected) / scale).max())
