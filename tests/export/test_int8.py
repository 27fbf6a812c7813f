"""The int8 variant: what is quantised, what is not, and that it answers nearly alike."""

from pathlib import Path

import msgspec
import numpy as np
import onnx
import pandas as pd
import pytest
from onnx import TensorProto

import cxr_edge
from cxr_edge.backends import DEVICES, open_graph
from cxr_edge.errors import UnknownPrecision
from cxr_edge.images import read_image
from cxr_edge.model.bundle import read_bundle
from cxr_edge.model.preprocess import preprocess
from export.int8 import SKIPPED, pointwise_convolutions, to_int8
from export.variants import calibration_images
from tests.conftest import SAMPLES


@pytest.fixture(scope="module")
def quantised(with_int8) -> onnx.ModelProto:
    return onnx.load_from_string(read_bundle(with_int8).files["model.int8.onnx"])


def convolutions(model: onnx.ModelProto) -> list[onnx.NodeProto]:
    return [node for node in model.graph.node if node.op_type == "Conv"]


def test_pointwise_convolutions_are_neither_depthwise_nor_gates():
    model = onnx.load_from_string(read_bundle().files["model.onnx"])
    found = pointwise_convolutions(model)
    shapes = {t.name: t.dims for t in model.graph.initializer}
    # EfficientNetB0: 16 blocks with a projection each, 15 of them with an expansion, and the top.
    assert len(found) == 16 + 15 + 1
    assert all(list(shapes[node.input[1]][2:]) == [1, 1] for node in found)
    assert min(min(shapes[node.input[1]][:2]) for node in found) >= 16


def test_later_pointwise_weights_have_eight_bits_per_channel(quantised):
    weights = {t.name: t for t in quantised.graph.initializer}
    dequantised = {n.output[0]: n for n in quantised.graph.node if n.op_type == "DequantizeLinear"}
    kernels = [dequantised[n.input[1]] for n in convolutions(quantised) if n.input[1] in dequantised]
    assert len(kernels) == 32 - SKIPPED
    for node in kernels:
        kernel, scale = weights[node.input[0]], weights[node.input[1]]
        assert kernel.data_type == TensorProto.INT8
        assert list(scale.dims) == [kernel.dims[0]]


def test_its_ends_are_those_of_the_float32_graph(quantised):
    one, two = (
        {v.name: v.type.tensor_type.elem_type for v in (*model.graph.input, *model.graph.output)}
        for model in (quantised, onnx.load_from_string(read_bundle().files["model.onnx"]))
    )
    assert one == two


def test_it_runs_through_the_sdk(model, with_int8):
    small = cxr_edge.load(with_int8, device="cpu", precision="int8", threads=1)
    assert small.precision == "int8"
    for path in SAMPLES[:3]:
        difference = np.abs(np.subtract(small.predict(path).values, model.predict(path).values)).max()
        assert 1e-5 < difference < 0.1


@pytest.mark.parametrize("device", [name for name in DEVICES if name != "cpu"])
def test_it_is_refused_where_it_was_not_tried(device):
    with pytest.raises(UnknownPrecision, match=f"int8 needs the device cpu, got {device}"):
        open_graph(b"", device, "int8")


def test_auto_chooses_a_device_of_that_precision(with_int8):
    model = cxr_edge.load(with_int8, precision="int8")
    assert (model.device, model.precision) == ("cpu", "int8")
    with pytest.raises(UnknownPrecision, match="expected one of fp32, fp16, int8, got 'fp8'"):
        cxr_edge.load(with_int8, precision="fp8")


@pytest.mark.parametrize(("kind", "fit"), [(str, "stretch"), (Path, "stretch"), (Path, "crop")])
def test_calibration_images_are_read_whatever_their_paths_are_and_as_the_network_sees_them(kind, fit):
    """A data set's table has them as paths, not as text."""
    shown = msgspec.structs.replace(read_bundle().manifest.input, size=(224, 160), fit=fit)
    table = pd.DataFrame({"image": [path.name for path in SAMPLES[:2]], "path": [kind(path) for path in SAMPLES[:2]]})
    found = calibration_images(table, shown)
    assert found.shape == (2, 224, 160)
    expected = [preprocess(read_image(path).pixels, shown.size, fit) for path in SAMPLES[:2]]
    assert sorted(image.sum() for image in found) == sorted(image.sum() for image in expected)


def test_fewer_images_and_other_settings_make_another_graph():
    model = onnx.load_from_string(read_bundle().files["model.onnx"])
    images = np.random.default_rng(0).integers(0, 256, (2, 224, 224), dtype=np.uint8)
    assert sum(n.op_type == "QuantizeLinear" for n in to_int8(model, images, skipped=31).graph.node) == 2
