"""OpenVINO: the same results in float32, bfloat16 close to it, and the precision that it actually computes in."""

import concurrent.futures

import numpy as np
import openvino
import pytest

import cxr_edge
from cxr_edge.backends import open_graph
from cxr_edge.errors import BundleTensors, DeviceUnavailable, UnknownPrecision
from cxr_edge.model.bundle import read_bundle
from tests.conftest import SAMPLES


@pytest.fixture(scope="module")
def on_openvino() -> cxr_edge.Model:
    return cxr_edge.load(device="openvino", threads=1)


def test_results_are_those_of_onnx_runtime(model, on_openvino, sample):
    assert (on_openvino.device, on_openvino.precision) == ("openvino", "fp32")
    one, two = (m.predict(sample, tta=True, heatmaps=True) for m in (model, on_openvino))
    np.testing.assert_allclose(two.values, one.values, atol=1e-4)
    np.testing.assert_allclose(two.heatmap("Effusion"), one.heatmap("Effusion"), atol=0.01)


def test_many_threads_share_it(on_openvino):
    alone = [on_openvino.predict(path).values for path in SAMPLES[:3]]
    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        together = list(pool.map(lambda path: on_openvino.predict(path).values, SAMPLES[:3] * 4))
    assert together == alone * 4


def test_bf16_is_computed_or_refused(model):
    """A CPU without bfloat16 must refuse it; one with it must actually compute in it."""
    if "BF16" not in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        with pytest.raises(DeviceUnavailable, match="computes in f32 where bf16 was asked for"):
            cxr_edge.load(device="openvino", precision="bf16")
        return
    half = cxr_edge.load(device="openvino", precision="bf16", threads=1)
    assert half.precision == "bf16"
    assert half.device_reason == "asked for; bf16 passed no gate for this model"
    difference = np.abs(np.subtract(half.predict(SAMPLES[1]).values, model.predict(SAMPLES[1]).values)).max()
    assert 1e-6 < difference < 0.05


def test_bf16_elsewhere_names_the_device():
    with pytest.raises(UnknownPrecision, match="bf16 needs the device openvino"):
        cxr_edge.load(device="cpu", precision="bf16")


def test_a_precision_it_does_not_have_is_refused():
    with pytest.raises(UnknownPrecision, match="computes in fp32 or bf16, not in fp16"):
        cxr_edge.load(device="openvino", precision="fp16")


def test_a_graph_that_does_not_load_is_a_fault_of_the_bundle():
    with pytest.raises(BundleTensors, match=r"openvino: version .* cannot load the graph"):
        open_graph(b"no graph", "openvino")


def test_a_cut_graph_describes_its_tensors():
    graph = open_graph(read_bundle().files["maps.onnx"], "openvino")
    assert graph.inputs["last_conv"] == ("float32", (None, 7, 7, 1280))
    assert graph.outputs["maps"] == ("float32", (None, 15, 7, 7))
