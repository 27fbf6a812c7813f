"""ONNX Runtime: outputs kept on the device, failures while it computes, sessions asked where they run."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import cxr_edge
from cxr_edge.backends import DEVICES, Resources, open_graph
from cxr_edge.errors import DeviceFailed, DeviceUnavailable, UnknownPrecision
from cxr_edge.model.bundle import SHIPPED, read_bundle
from cxr_edge.model.results import InputFailure, Result
from tests.conftest import SAMPLES

#: Environment variables that switch off ONNX Runtime's telemetry.
SILENCING = frozenset({"CI", "ORT_DISABLE_TELEMETRY", "ORT_RUNNING_UNIT_TESTS"})


def test_a_kept_output_feeds_the_next_graph_without_a_copy():
    files = read_bundle().files
    network, companion = open_graph(files["model.onnx"]), open_graph(files["maps.onnx"])
    image = np.arange(2 * 224 * 224, dtype=np.uint8).reshape(2, 224, 224)
    probabilities, kept = network.run(["probabilities", "last_conv"], {"image": image}, keep=["last_conv"])
    assert isinstance(probabilities, np.ndarray)
    assert not isinstance(kept, np.ndarray)
    assert kept.device_name() == "cpu"
    (last_conv,) = network.run(["last_conv"], {"image": image})
    (maps,) = companion.run(["maps"], {"last_conv": kept})
    np.testing.assert_array_equal(maps, companion.run(["maps"], {"last_conv": last_conv})[0])


def test_spinning_changes_no_probability(image_path):
    one, two = (cxr_edge.load(device="cpu", threads=2, spinning=spinning) for spinning in (True, False))
    assert one.predict(image_path).values == two.predict(image_path).values


@pytest.mark.parametrize("device", ["cuda", "tensorrt-ep"])
def test_a_cpu_package_names_what_it_lacks(device):
    import onnxruntime

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this ONNX Runtime has a CUDA provider")
    with pytest.raises(DeviceUnavailable, match=rf"^{device}: .*has no \w+ExecutionProvider: .*install the extra gpu"):
        open_graph(read_bundle().files["model.onnx"], device)


@pytest.mark.parametrize("device", [name for name in DEVICES if name not in ("auto", "openvino")])
def test_bf16_is_for_openvino(device):
    with pytest.raises(UnknownPrecision, match="bf16 needs the device openvino"):
        open_graph(b"", device, "bf16")


def test_too_little_gpu_memory_is_refused():
    with pytest.raises(ValueError, match="gpu_memory of at least 67108864"):
        cxr_edge.load(device="cpu", gpu_memory=1)
    assert Resources().gpu_memory == 2 * 2**30


@pytest.fixture
def failing(tmp_path) -> Path:
    """Return the shipped bundle with a network that indexes outside a tensor for images with a black corner."""
    root = tmp_path / "bundle"
    shutil.copytree(SHIPPED, root)
    model = onnx.load(root / "model.onnx")
    graph = model.graph
    for node in graph.node:
        node.output[:] = ["logits/before" if name == "logits" else name for name in node.output]
        node.input[:] = ["logits/before" if name == "logits" else name for name in node.input]
    graph.initializer.extend(
        [
            helper.make_tensor("corner/starts", TensorProto.INT64, [2], [0, 0]),
            helper.make_tensor("corner/ends", TensorProto.INT64, [2], [1, 1]),
            helper.make_tensor("corner/axes", TensorProto.INT64, [2], [1, 2]),
            helper.make_tensor("corner/black", TensorProto.INT32, [1], [1]),
            helper.make_tensor("corner/rows", TensorProto.FLOAT, [1], [0.0]),
            helper.make_tensor("corner/flat", TensorProto.INT64, [2], [-1, 1]),
        ]
    )
    graph.node.extend(
        [
            helper.make_node("Slice", ["image", "corner/starts", "corner/ends", "corner/axes"], ["corner"]),
            helper.make_node("Cast", ["corner"], ["corner/level"], to=TensorProto.INT32),
            helper.make_node("Less", ["corner/level", "corner/black"], ["corner/is_black"]),
            helper.make_node("Cast", ["corner/is_black"], ["corner/row"], to=TensorProto.INT64),
            helper.make_node("Gather", ["corner/rows", "corner/row"], ["corner/zero"]),
            helper.make_node("Reshape", ["corner/zero", "corner/flat"], ["corner/added"]),
            helper.make_node("Add", ["logits/before", "corner/added"], ["logits"]),
        ]
    )
    onnx.save(model, root / "model.onnx")
    manifest = json.loads((root / "manifest.json").read_text())
    import hashlib

    data = (root / "model.onnx").read_bytes()
    manifest["files"]["model.onnx"] = {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
    (root / "manifest.json").write_text(json.dumps(manifest))
    return root


def test_a_device_failure_fails_its_image_alone(failing, image):
    model = cxr_edge.load(failing, device="cpu", threads=1)
    dark, bright = image.copy(), image.copy()
    dark[:64], bright[:64] = 0, 200
    assert isinstance(model.predict(bright), Result)
    with pytest.raises(DeviceFailed, match="cpu failed while it computed"):
        model.predict(dark)
    failure, result = model.predict_batch([dark, bright])
    assert isinstance(failure, InputFailure)
    assert failure.code == "device_failed"
    assert isinstance(result, Result)


def test_a_run_that_a_device_failure_ended_is_resumed(failing, tmp_path):
    """The image that failed has a line with its code, the run ends with 3, and the same command goes on."""
    import cv2

    images = tmp_path / "images"
    images.mkdir()
    pixels = cv2.imread(str(SAMPLES[0]), cv2.IMREAD_GRAYSCALE)
    for name, level in (("a", 200), ("b", 0), ("c", 200)):
        shown = pixels.copy()
        shown[:64] = level
        cv2.imwrite(str(images / f"{name}.png"), shown)
    out = tmp_path / "out"
    command = [sys.executable, "-m", "cxr_edge", "infer", str(images), "--out", str(out), "--bundle", str(failing)]
    command += ["--threads", "1", "--device", "cpu"]
    first = subprocess.run(command, capture_output=True, text=True, check=False)
    assert first.returncode == 3
    assert "cxr-edge: device_failed: cpu failed" in first.stderr
    lines = [json.loads(line) for line in (out / "predictions.jsonl").read_text().splitlines()]
    assert [line["status"] for line in lines] == ["ok", "error"]
    assert lines[1]["error"]["code"] == "device_failed"
    (images / "b.png").unlink()
    second = subprocess.run(command, capture_output=True, text=True, check=False)
    assert second.returncode == 0, second.stderr
    lines = [json.loads(line) for line in (out / "predictions.jsonl").read_text().splitlines()]
    assert [(Path(line["path"]).name, line["status"]) for line in lines] == [("a.png", "ok"), ("c.png", "ok")]


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="counts threads in /proc, which only Linux has")
def test_nothing_is_reported_to_microsoft():
    """Telemetry has a thread of its own: expect as many threads as with it switched off from outside."""
    script = (
        "import os, cxr_edge; cxr_edge.load(device='cpu', threads=1); "
        "print(os.environ['ORT_DISABLE_TELEMETRY'], len(os.listdir('/proc/self/task')))"
    )
    # Without these variables, which switch it off as well.
    plain = {key: value for key, value in os.environ.items() if key not in SILENCING}
    by_default, silenced = (
        subprocess.run([sys.executable, "-c", script], env=env, capture_output=True, text=True, check=True).stdout
        for env in (plain, {**plain, "ORT_DISABLE_TELEMETRY": "1"})
    )
    assert by_default == silenced
    assert by_default.startswith("1 ")
