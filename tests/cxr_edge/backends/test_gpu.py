"""On an NVIDIA GPU: parity of CUDA in both precisions, engines built and run. Skipped where there is none."""

import concurrent.futures

import numpy as np
import pytest

import cxr_edge
from cxr_edge.backends import Resources
from cxr_edge.backends.nvidia import find_gpu
from cxr_edge.backends.tensorrt.build import Settings
from cxr_edge.backends.tensorrt.library import load_library
from cxr_edge.backends.tensorrt.store import build_stored
from cxr_edge.errors import DeviceFailed, DeviceUnavailable
from cxr_edge.model.bundle import read_bundle
from tests.conftest import SAMPLES

#: Largest difference of a probability to float32 on the CPU.
LIMITS = {"fp32": 1e-3, "fp16": 1e-2}


@pytest.fixture(scope="module")
def architecture() -> str:
    try:
        return find_gpu().architecture
    except DeviceUnavailable as fault:
        pytest.skip(f"needs an NVIDIA GPU: {fault}")


@pytest.fixture(scope="module")
def engines(architecture, tmp_path_factory):
    """Engines of both precisions, in a cache of their own."""
    try:
        library = load_library()
    except DeviceUnavailable as fault:
        pytest.skip(f"needs TensorRT: {fault}")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CXR_EDGE_CACHE", str(tmp_path_factory.mktemp("engines")))
        bundle = read_bundle()
        for precision in LIMITS:
            for name in bundle.manifest.graph_files(precision):
                build_stored(library, name, bundle.files[name], precision, Settings(architecture))
        yield


def agrees(model: cxr_edge.Model, reference: cxr_edge.Model, limit: float) -> None:
    for path in SAMPLES:
        for tta in (False, True):
            one, two = (m.predict(path, tta=tta, heatmaps=True) for m in (reference, model))
            np.testing.assert_allclose(two.values, one.values, atol=limit)
            strongest = one.labels[int(np.argmax(one.values))]
            assert np.corrcoef(one.map_of(strongest).ravel(), two.map_of(strongest).ravel())[0, 1] > 0.95


@pytest.mark.parametrize("precision", LIMITS)
def test_cuda_answers_as_the_cpu_does(architecture, model, precision):
    on_gpu = cxr_edge.load(device="cuda", precision=precision)
    assert (on_gpu.device, on_gpu.precision) == ("cuda", precision)
    agrees(on_gpu, model, LIMITS[precision])


def test_the_last_convolution_stays_on_the_gpu(architecture):
    from cxr_edge.backends import open_graph

    network = open_graph(read_bundle().files["model.onnx"], "cuda")
    (kept,) = network.run(["last_conv"], {"image": np.zeros((1, 224, 224), np.uint8)}, keep=["last_conv"])
    assert kept.device_name() == "cuda"


@pytest.mark.parametrize("precision", LIMITS)
def test_engines_answer_as_the_cpu_does(engines, model, precision):
    on_gpu = cxr_edge.load(device="tensorrt", precision=precision)
    agrees(on_gpu, model, LIMITS[precision])


def test_engines_under_threads(engines):
    on_gpu = cxr_edge.load(device="tensorrt")
    alone = [on_gpu.predict(path, tta=True, heatmaps=True) for path in SAMPLES]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda path: on_gpu.predict(path, tta=True, heatmaps=True), SAMPLES * 4))
    for one, two in zip(alone * 4, together, strict=True):
        np.testing.assert_allclose(two.values, one.values, atol=1e-3)
        np.testing.assert_allclose(two.map_of("Effusion"), one.map_of("Effusion"), atol=1e-2)


def test_batches_of_changing_size(engines, model):
    """Each size has a CUDA graph of its own, which leaves the others unchanged."""
    on_gpu = cxr_edge.load(device="tensorrt", precision="fp32")
    for index, tta in enumerate((False, True, False, True, True, False, False, True)):
        image = SAMPLES[index % len(SAMPLES)]
        np.testing.assert_allclose(
            on_gpu.predict(image, tta=tta).values, model.predict(image, tta=tta).values, atol=1e-3
        )


def test_a_batch_over_the_profile_is_refused(engines):
    from cxr_edge.backends import open_graph

    files, manifest = read_bundle().files, read_bundle().manifest
    graph = open_graph(files[manifest.variant("fp16").model], "tensorrt", "fp16")
    with pytest.raises(DeviceFailed, match="at most 32 inputs at a time, got 33"):
        graph.run(["probabilities"], {"image": np.zeros((33, 224, 224), np.uint8)})


def test_too_little_memory_is_told(engines):
    from cxr_edge.backends import open_graph

    files, manifest = read_bundle().files, read_bundle().manifest
    with pytest.raises(DeviceUnavailable, match="allow more"):
        open_graph(files[manifest.variant("fp16").model], "tensorrt", "fp16", Resources(gpu_memory=1))
