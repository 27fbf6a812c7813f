"""Maps of twice as many cells along each side: LayerCAM at the features, and HiResCAM one stage before.

HiResCAM (Draelos and Carin 2020) weights a channel at each position by its gradient there, whatever its sign. Before
the last reduction of the network it is finer and noisier than LayerCAM behind it. Each is scaled to its maximum; two
thirds of LayerCAM and one third of HiResCAM pointed best on images with boxes.
"""

from typing import Final, TypeAlias

import cv2
import numpy as np
import numpy.typing as npt
from onnx import ModelProto

from export.companion.build import MAPS, checked, writer_after
from export.companion.features import Features, candidates
from export.companion.head import cut_head
from export.companion.maps import write_maps, write_weighted
from export.companion.nodes import batch_of
from export.companion.reverse import write_gradients
from export.companion.writer import Writer, described
from export.errors import NoCompanion

Maps: TypeAlias = npt.NDArray[np.float64]

#: Share of the finer map.
FINER: Final = 1 / 3

#: Below it a map has no maximum to be scaled by.
_TINY: Final = 1e-12


def finer_features(model: ModelProto, coarse: Features, logits: str) -> Features:
    """Find the last tensor that all logits pass through, of twice as many positions along each side.

    Raises
    ------
    NoCompanion
        There is none: the network reduces its positions within a branch.
    """
    wanted = tuple(2 * side for side in coarse.grid)
    for found in candidates(model, logits):
        if found.grid == wanted:
            return found
    raise NoCompanion(
        f"no tensor of {wanted[0]}x{wanted[1]} positions lies on every way to {logits!r}; choose --maps layercam"
    )


def fine_companion(model: ModelProto, coarse: Features, finer: Features, logits: str = "logits") -> ModelProto:
    """Write the graph that computes the fused maps from the finer features.

    It computes the rest of the network from there on, and its gradients for all labels: it costs as much as several
    passes of the network.

    Parameters
    ----------
    model : ModelProto
    coarse, finer : Features
        Those of the bundle, and `finer_features`.
    logits : str

    Returns
    -------
    ModelProto
        finer features → ``maps`` (N, labels, *grid of the finer) float32: LayerCAM's scale, not normalised.

    Raises
    ------
    NoCompanion
    """
    head = cut_head(model, finer.name, logits)
    writer = writer_after(head)
    by_coarse, by_finer = write_gradients(head, writer, (coarse.name, finer.name))
    layercam = write_maps(writer, by_coarse, coarse, "layercam")
    hirescam = write_weighted(writer, by_finer, finer)
    writer.expose(_fused(writer, layercam, hirescam), MAPS)
    shape = [batch_of(head.model), writer.shape(head.logits)[1], *finer.grid]
    return checked(writer.finished(head.model.graph.input[0], [described(MAPS, shape)]))


def _fused(writer: Writer, coarse: str, finer: str) -> str:
    """Write the weighted mean of two maps, each scaled to its maximum, in the scale of the first.

    Where the first has no positive value, in that of the second.
    """
    peaks = [writer.op("ReduceMax", name, axes=[2, 3], keepdims=1) for name in (coarse, finer)]
    scaled = [
        writer.op("Div", name, writer.op("Max", peak, writer.constant(_TINY)))
        for name, peak in zip((coarse, finer), peaks, strict=True)
    ]
    enlarged = writer.op(
        "Resize", scaled[0], "", writer.constant([1.0, 1.0, 2.0, 2.0]),
        mode="linear", coordinate_transformation_mode="half_pixel",
    )  # fmt: skip
    shares = (writer.constant(1 - FINER), writer.constant(FINER))
    mean = writer.op(
        "Add", *(writer.op("Mul", part, share) for part, share in zip((enlarged, scaled[1]), shares, strict=True))
    )
    scale = writer.op("Where", writer.op("Greater", peaks[0], writer.constant(_TINY)), *peaks)
    return writer.op("Mul", mean, scale)


def fused(coarse: Maps, finer: Maps) -> Maps:
    """Compute what `fine_companion` writes from both maps, (N, labels, h, w) float64, in NumPy: for its gate."""
    peaks = [maps.max(axis=(2, 3), keepdims=True) for maps in (coarse, finer)]
    scaled = [maps / np.maximum(peak, _TINY) for maps, peak in zip((coarse, finer), peaks, strict=True)]
    size = (finer.shape[3], finer.shape[2])
    enlarged = np.stack([[cv2.resize(one, size, interpolation=cv2.INTER_LINEAR) for one in of] for of in scaled[0]])
    mean = (1 - FINER) * enlarged + FINER * scaled[1]
    return np.asarray(mean * np.where(peaks[0] > _TINY, peaks[0], peaks[1]))
