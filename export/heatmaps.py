"""The heat maps of a bundle: the companion of a network by a method, its entry in the manifest, and its gate."""

from dataclasses import asdict, replace
from typing import Any, Final, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import onnx
from onnx import ModelProto, TensorProto, helper

from cxr_edge.backends import Resources, open_graph
from cxr_edge.support.parallel import usable_cores
from export.companion.build import companion
from export.companion.features import Features, named_features
from export.companion.fine import fine_companion, finer_features
from export.companion.head import cut_head
from export.companion.nodes import batch_of
from export.companion.oracle import measure_companion, measure_fine, require_agreement, require_same_head
from export.tensors import TENSORS

#: Of a bundle's maps: those of `export.companion.maps.Method`, and ``fine`` of `export.companion.fine`.
MapMethod: TypeAlias = Literal["layercam", "gradcam", "fine"]

#: Name of the tensor that fine maps are computed from.
FINER: Final = "finer"

#: Images of the gate at whose features the gradient is compared.
_DIFFERENTIATED: Final = 2


def with_maps(model: ModelProto, method: MapMethod) -> tuple[ModelProto, ModelProto]:
    """Write the companion of a network whose features are exposed.

    Returns
    -------
    ModelProto
        The network; for ``fine`` with the finer features as a further output, `FINER`.
    ModelProto
        The companion.

    Raises
    ------
    NoCompanion
    """
    if method != "fine":
        return model, companion(model, method, features=TENSORS.features, logits=TENSORS.logits, layout="channels_last")
    coarse = named_features(model, TENSORS.features, "channels_last")
    finer = finer_features(model, coarse, TENSORS.logits)
    exposed = _exposed(model, finer)
    finer = replace(finer, name=FINER)
    return exposed, fine_companion(exposed, coarse, finer, TENSORS.logits)


def described_maps(maps: ModelProto, method: MapMethod) -> dict[str, Any]:
    """Describe a companion for the manifest."""
    shape = [dim.dim_value for dim in maps.graph.output[0].type.tensor_type.shape.dim]
    described = {"method": method, "graphs": {"fp32": "maps.onnx"}, "grid": shape[2:]}
    return {**described, "features": FINER} if method == "fine" else described


def _exposed(model: ModelProto, finer: Features) -> ModelProto:
    """Make a tensor an output, under the name `FINER`, where it stands."""
    exposed = ModelProto()
    exposed.CopyFrom(model)
    for node in exposed.graph.node:
        node.input[:] = [FINER if name == finer.name else name for name in node.input]
        node.output[:] = [FINER if name == finer.name else name for name in node.output]
    shape = [batch_of(model), *finer.lengths]
    exposed.graph.output.append(helper.make_tensor_value_info(FINER, TensorProto.FLOAT, shape))
    onnx.checker.check_model(exposed, full_check=True)
    return exposed


def gate_maps(
    model: ModelProto, maps: ModelProto, method: MapMethod, images: npt.NDArray[np.uint8]
) -> dict[str, float]:
    """Compare a companion with numerical differentiation of the head, on the features of some images.

    Parameters
    ----------
    model, maps : ModelProto
        As `with_maps` returns them.
    method : {'layercam', 'gradcam', 'fine'}
    images : ndarray, (N, H, W) uint8
        Pre-processed.

    Returns
    -------
    dict
        ``gradient`` and ``maps``: see `export.companion.oracle.Agreement`.

    Raises
    ------
    ExportError
        One is over the tolerance.
    """
    fixed = model.graph.input[0].type.tensor_type.shape.dim[0].dim_value
    graph = open_graph(model.SerializeToString(), resources=Resources(threads=usable_cores()))
    read = FINER if method == "fine" else TENSORS.features
    values, logits = graph.run([read, TENSORS.logits], {TENSORS.image: images[: fixed or _DIFFERENTIATED]})
    head, coarse = cut_head(model, read, TENSORS.logits), named_features(model, TENSORS.features, "channels_last")
    require_same_head(head, values, logits)
    if method == "fine":
        agreement = measure_fine(maps, head, (coarse, named_features(model, FINER, None)), values)
    else:
        agreement = measure_companion(maps, head, coarse, method, values)
    require_agreement(agreement)
    return asdict(agreement)
