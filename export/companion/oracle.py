"""The gate of a companion graph without any framework: the network's own head, differentiated numerically.

The generated gradient is held against central differences of the head in ``onnx.reference`` in float64, along random
directions, and the maps against the same gradient weighted in NumPy.
"""

import math
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from onnx import ModelProto, NodeProto, TensorProto, numpy_helper
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun

from cxr_edge.backends import open_graph
from export.companion.build import GRADIENT, MAPS, gradient_graph
from export.companion.features import Features
from export.companion.fine import fused
from export.companion.head import Head
from export.companion.maps import Method
from export.errors import ExportError
from export.maps import FLOOR, largest_difference

Float32s = npt.NDArray[np.float32]
Float64s = npt.NDArray[np.float64]

#: Of the gradient and of the maps, relative; float32 rounds to a few 1e-6, a wrong rule is off by far more.
TOLERANCE: Final = 1e-4

DIRECTIONS: Final = 8

#: Of the central differences, relative to the largest feature: small enough that hardly any ReLU switches within.
_STEP: Final = 1e-7
_TINY: Final = float(np.finfo(np.float32).tiny)
#: Standard deviation of what is added to features, relative to the largest: where a ReLU left only zeros, they are
#: equal, and their maximum has no derivative.
_NOISE: Final = 1e-3


@dataclass(frozen=True)
class Agreement:
    """How far a companion graph is from the oracle.

    Attributes
    ----------
    gradient : float
        Largest difference of a directional derivative, relative to the root of the sum of its squared terms, or to
        `export.maps.FLOOR` of the largest such root over the labels.
    maps : float
        As in `export.maps.largest_difference`.
    """

    gradient: float
    maps: float


def measure_companion(
    companion: ModelProto, head: Head, features: Features, method: Method, values: Float32s
) -> Agreement:
    """Compare a companion graph with the oracle.

    Parameters
    ----------
    companion : ModelProto
        As `export.companion.build.companion` writes it.
    head : Head
        Of the network that it belongs to.
    features : Features
    method : {'layercam', 'gradcam'}
    values : ndarray, (N, *features.lengths) float32
        Features of some images.
    """
    rng = np.random.default_rng(0)
    gradients = open_graph(gradient_graph(head).SerializeToString())
    noise = rng.normal(0, _NOISE * np.abs(values).max(), values.shape)
    moved = (values + noise).astype(np.float32)
    (gradient,) = gradients.run([GRADIENT], {head.features: moved})
    (at_values,) = gradients.run([GRADIENT], {head.features: values})
    (maps,) = open_graph(companion.SerializeToString()).run([MAPS], {head.features: values})
    return Agreement(
        gradient=_difference_of_gradients(head, moved, gradient, rng),
        maps=largest_difference(maps, weighted(values, at_values, features, method)),
    )


def measure_fine(companion: ModelProto, head: Head, features: tuple[Features, Features], values: Float32s) -> Agreement:
    """Compare a companion of fine maps with the oracle; see `measure_companion`.

    Parameters
    ----------
    companion : ModelProto
        As `export.companion.fine.fine_companion` writes it.
    head : Head
        From the finer features on.
    features : (Features, Features)
        The coarse ones, within the head, and the finer ones.
    values : ndarray, (N, *finer lengths) float32
        Finer features of some images.
    """
    rng = np.random.default_rng(0)
    coarse, finer = features
    graph = open_graph(gradient_graph(head, (coarse.name,)).SerializeToString())
    noise = rng.normal(0, _NOISE * np.abs(values).max(), values.shape)
    moved = (values + noise).astype(np.float32)
    (gradient,) = graph.run([GRADIENT], {head.features: moved})
    by_finer, by_coarse, at_coarse = graph.run([GRADIENT, f"{GRADIENT} 1", coarse.name], {head.features: values})
    (maps,) = open_graph(companion.SerializeToString()).run([MAPS], {head.features: values})
    layercam = weighted(at_coarse, by_coarse, coarse, "layercam")
    hirescam = summed(values, by_finer.astype(np.float64), finer)
    return Agreement(
        gradient=_difference_of_gradients(head, moved, gradient, rng),
        maps=largest_difference(maps, fused(layercam, hirescam)),
    )


def require_same_head(head: Head, values: Float32s, logits: Float32s) -> None:
    """Raise `ExportError` where a head, cut from its network and written in another opset, computes other logits.

    Parameters
    ----------
    head : Head
    values : ndarray
        The network's features of some images.
    logits : ndarray, (N, labels) float32
        The network's logits of them.
    """
    (found,) = open_graph(head.model.SerializeToString()).run([head.logits], {head.features: values})
    difference = float(np.abs(found - logits).max() / max(1.0, float(np.abs(logits).max())))
    if not difference <= TOLERANCE:
        raise ExportError(
            f"the head by itself: expected the network's logits within {TOLERANCE:g}, got a difference of "
            f"{difference:.3g}; leave out the maps (`--maps none`), and report the head as a fault"
        )


def require_agreement(agreement: Agreement) -> None:
    """Raise `ExportError` where a companion graph is over `TOLERANCE`, or returns what is not a number."""
    for name, found in (("gradient", agreement.gradient), ("maps", agreement.maps)):
        if not found <= TOLERANCE:
            raise ExportError(
                f"{name} of the companion graph: expected a difference to numerical differentiation of at most "
                f"{TOLERANCE:g}, got {found:.3g}; leave out the maps (`--maps none`), and report the head as a fault"
            )


def weighted(values: Float32s, gradient: Float32s, features: Features, method: Method) -> Float64s:
    """Compute maps from features and their gradient, (N, labels, h, w) float64."""
    positions = tuple(axis + 1 for axis in features.position_axes)
    exact = np.broadcast_to(gradient.astype(np.float64), (len(values), gradient.shape[1], *features.lengths))
    weights = np.maximum(exact, 0) if method == "layercam" else exact.mean(axis=positions, keepdims=True)
    return summed(values, weights, features)


def summed(values: Float32s, weights: Float64s, features: Features) -> Float64s:
    """Compute ReLU(Σ_k weight_k A_k), (N, labels, h, w) float64."""
    return np.asarray(np.maximum((weights * values[:, np.newaxis]).sum(axis=features.channel_axis + 1), 0))


def _difference_of_gradients(head: Head, values: Float32s, gradient: Float32s, rng: np.random.Generator) -> float:
    reference, exact = in_float64(head), values.astype(np.float64)
    step, worst = _STEP * np.abs(exact).max(), 0.0
    for _ in range(DIRECTIONS):
        direction = rng.standard_normal(exact.shape)
        ahead, behind = (_logits(reference, head, exact + sign * step * direction) for sign in (1, -1))
        terms = gradient * direction[:, np.newaxis]
        terms = terms.reshape(*terms.shape[:2], -1)
        errors, norms = np.abs((ahead - behind) / (2 * step) - terms.sum(axis=-1)), np.linalg.norm(terms, axis=-1)
        scales = np.maximum(norms, FLOOR * norms.max(axis=1, keepdims=True))
        worst = np.maximum(worst, (errors / np.maximum(scales, _TINY)).max())
    return float(worst)


def _logits(reference: ReferenceEvaluator, head: Head, values: Float64s) -> Float64s:
    return np.asarray(reference.run([head.logits], {head.features: values})[0])  # type: ignore[index]


def in_float64(head: Head) -> ReferenceEvaluator:
    """Return the head as ``onnx.reference`` computes it in float64: features → logits."""
    model = ModelProto()
    model.CopyFrom(head.model)
    for tensor in model.graph.initializer:
        tensor.CopyFrom(_doubled(tensor))
    for node in model.graph.node:
        _double(node)
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.elem_type = TensorProto.DOUBLE
    return ReferenceEvaluator(model, new_ops=[Erf])


def _doubled(tensor: TensorProto) -> TensorProto:
    if tensor.data_type != TensorProto.FLOAT:
        return tensor
    return numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float64), tensor.name)


def _double(node: NodeProto) -> None:
    """Let a node that names a type name float64 for float32."""
    for attribute in node.attribute:
        if attribute.type == attribute.TENSOR:
            attribute.t.CopyFrom(_doubled(attribute.t))
        elif attribute.name == "to" and attribute.i == TensorProto.FLOAT:
            attribute.i = TensorProto.DOUBLE


class Erf(OpRun):
    """The error function in the precision of its input; that of ``onnx.reference`` is in float32."""

    op_domain = ""

    def _run(self, x: npt.NDArray[Any]) -> tuple[npt.NDArray[Any]]:
        return (np.vectorize(math.erf, otypes=[x.dtype])(x),)
