"""The int8 variant: pointwise convolutions quantised statically, everything else in float32.

Weights and activations are written as QuantizeLinear/DequantizeLinear pairs, weights per channel
(Jacob et al. 2018). EfficientNet suffers from eight bits more than most networks: what is kept in
float32, and how activations are clipped, is the outcome of trials on validation images:
``python -m benchmarks.int8``, with its table in ``benchmarks/results/int8.json``.
"""

import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import onnx
from onnx import ModelProto, NodeProto
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static

from cxr_edge.model.tta import make_variants
from training.network.tta import VARIANTS

#: Pointwise convolutions from the stem on that stay in float32.
SKIPPED: Final = 18

#: Activations are clipped at this percentile of what calibration saw.
PERCENTILE: Final = 99.99

#: Images that activations are observed on.
IMAGES: Final = 128


def to_int8(
    model: ModelProto, images: npt.NDArray[np.uint8], skipped: int = SKIPPED, percentile: float = PERCENTILE
) -> ModelProto:
    """Quantise the later pointwise convolutions of a float32 graph.

    Parameters
    ----------
    model : onnx.ModelProto
        With the one input ``image``.
    images : ndarray, (N, H, W) uint8
        Validation images, pre-processed; of each, one TTA variant is observed, all in turn.
    skipped : int
        Pointwise convolutions, from the stem on, that stay in float32.
    percentile : float
        Of the observed values, where activations are clipped.

    Returns
    -------
    onnx.ModelProto
        Same inputs and outputs; passes ``onnx.checker`` with full_check.
    """
    named = ModelProto()
    named.CopyFrom(model)
    for index, node in enumerate(named.graph.node):
        node.name = f"{index}/{node.op_type}"  # nodes are chosen by name, and some have none
    chosen = pointwise_convolutions(named)[skipped:]
    with tempfile.TemporaryDirectory() as folder:
        source, quantised = Path(folder, "float32.onnx"), Path(folder, "int8.onnx")
        onnx.save(named, source)
        quantize_static(
            source,
            quantised,
            _Variants(images),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=["Conv"],
            nodes_to_quantize=[node.name for node in chosen],
            per_channel=True,
            weight_type=QuantType.QInt8,
            activation_type=QuantType.QUInt8,
            calibrate_method=CalibrationMethod.Percentile,
            extra_options={"CalibPercentile": percentile},
        )
        made = onnx.load(quantised)
    made.producer_name, made.producer_version = model.producer_name, ""
    onnx.checker.check_model(made, full_check=True)
    return made


def pointwise_convolutions(model: ModelProto) -> list[NodeProto]:
    """List the 1x1 convolutions over whole maps, in order: neither depthwise nor of squeeze-and-excitation."""
    shapes = {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}
    pooled: set[str] = set()
    found = []
    for node in model.graph.node:
        data = [name for name in node.input if name not in shapes]
        if node.op_type == "GlobalAveragePool" or (data and pooled.issuperset(data)):
            pooled.update(node.output)
        elif node.op_type == "Conv" and shapes[node.input[1]][2:] == (1, 1):
            found.append(node)
    return found


class _Variants(CalibrationDataReader):  # type: ignore[misc]
    """Feeds one TTA variant of each image, all in turn."""

    def __init__(self, images: Iterable[npt.NDArray[np.uint8]]) -> None:
        self._feeds = (
            {"image": make_variants(image, [VARIANTS[index % len(VARIANTS)]])} for index, image in enumerate(images)
        )

    def get_next(self) -> dict[str, npt.NDArray[np.uint8]] | None:
        return next(self._feeds, None)
