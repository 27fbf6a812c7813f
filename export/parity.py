"""The parity gate: the ONNX graphs against Keras on real images, within stated tolerances."""

from dataclasses import asdict, dataclass, fields

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from cxr_edge.backends import Resources, open_graph
from cxr_edge.model.tta import make_variants
from cxr_edge.support.parallel import usable_cores
from export.companion.maps import Method
from export.convert import Graphs
from export.errors import ExportError
from export.heatmaps import MapMethod
from export.maps import largest_difference
from export.tensors import TENSORS
from training.network.architecture import LOGITS, PROBABILITIES, last_convolution
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
    maps : float or None
        As in `export.maps.largest_difference`; None without maps.
    """

    probabilities: float
    logits: float
    features: float
    maps: float | None = None


#: Against Keras in float32, the maps against ``tf.GradientTape``.
TOLERANCES = Differences(probabilities=1e-4, logits=1e-4, features=1e-4, maps=1e-4)


class ParityError(ExportError):
    """The exported graphs do not compute what the Keras model computes."""


def measure(
    network: keras.Model, graphs: Graphs, method: MapMethod | None, images: npt.NDArray[np.uint8]
) -> Differences:
    """Compare on all TTA variants of the images.

    Both sides get the maps from the same last convolution: the sign of a ReLU's input that is
    zero but for rounding would otherwise decide.

    Parameters
    ----------
    network : keras.Model
        float32.
    graphs : Graphs
    method : {'layercam', 'gradcam', 'fine'} or None
        Of the maps; None where the graphs have no companion. Fine maps are compared with numerical differentiation
        alone.
    images : ndarray, (N, H, W) uint8
        Pre-processed.
    """
    resources = Resources(threads=usable_cores())
    runtime = open_graph(graphs.model, resources=resources)
    companion = None if graphs.maps is None else open_graph(graphs.maps, resources=resources)
    reference = keras.Model(
        network.input,
        [network.get_layer(name).output for name in (PROBABILITIES, LOGITS)] + [last_convolution(network).output],
    )
    head = keras.Model(last_convolution(network).output, network.get_layer(LOGITS).output)
    differences: dict[str, list[float]] = {field.name: [] for field in fields(Differences)}
    for image in images:
        variants = make_variants(image, VARIANTS)
        found = runtime.run([TENSORS.probabilities, TENSORS.logits, TENSORS.features], {TENSORS.image: variants})
        expected = [np.asarray(v) for v in reference(variants[..., np.newaxis].astype(np.float32), training=False)]
        differences["probabilities"].append(float(np.abs(found[0] - expected[0]).max()))
        differences["logits"].append(_scaled(found[1], expected[1]))
        differences["features"].append(_scaled(found[2], expected[2]))
        if companion is not None and method in ("layercam", "gradcam"):
            (maps,) = companion.run([TENSORS.maps], {TENSORS.features: found[2]})
            differences["maps"].append(largest_difference(maps, gradient_tape_maps(head, found[2], method)))
    # np.max, not max: it keeps what is not a number.
    worst = {name: float(np.max(values)) for name, values in differences.items() if values}
    return Differences(**worst)


def require_parity(differences: Differences) -> None:
    """Raise `ParityError` where a difference is over its tolerance, or not a number."""
    for name, found in asdict(differences).items():
        tolerance = asdict(TOLERANCES)[name]
        if found is not None and not found <= tolerance:
            raise ParityError(
                f"{name} differ from Keras by {found:.3g}, over the tolerance of {tolerance:g}; no bundle is written. "
                "The maps of a network that was hardly fitted can differ by rounding alone: fit it longer"
            )


def gradient_tape_maps(
    head: keras.Model, last_conv: npt.NDArray[np.float32], method: Method
) -> npt.NDArray[np.float32]:
    """Compute class activation maps by automatic differentiation: the oracle.

    Parameters
    ----------
    head : keras.Model
        last_conv → logits.
    last_conv : ndarray, (N, h, w, K) float32
    method : {'layercam', 'gradcam'}

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
        gradient = tape.gradient(logit, activation)
        weights = tf.nn.relu(gradient) if method == "layercam" else tf.reduce_mean(gradient, axis=(1, 2), keepdims=True)
        maps.append(tf.nn.relu(tf.reduce_sum(activation * weights, axis=-1)))
    return np.asarray(tf.stack(maps, axis=1))


def _scaled(found: npt.NDArray[np.float32], expected: npt.NDArray[np.float32]) -> float:
    of_variant = tuple(range(1, expected.ndim))
    scale = np.maximum(np.abs(expected).max(axis=of_variant, keepdims=True), 1)
    return float((np.abs(found - expected) / scale).max())
