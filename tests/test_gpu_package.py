"""ONNX Runtime's GPU package in an environment of its own: what it lacks is named, and no fallback is silent."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import SAMPLES
from tests.repository import copy_tracked

pytestmark = [
    pytest.mark.installs,
    pytest.mark.usefixtures("no_gpu"),
    pytest.mark.skipif(os.name == "nt" or sys.platform == "darwin", reason="onnxruntime-gpu is tried on Linux"),
]


@pytest.fixture(scope="module")
def python(tmp_path_factory) -> Path:
    """An environment with cxr-edge[gpu]."""
    root = tmp_path_factory.mktemp("gpu")
    copy_tracked(root / "clone", ("cxr_edge/", "samples/"))
    subprocess.run([sys.executable, "-m", "venv", root / "venv"], check=True)
    python = root / "venv" / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "--quiet", f"{root / 'clone'}[gpu]"], check=True)
    return python


def run(python: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [python, "-m", "cxr_edge", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=python.parent)


@pytest.mark.parametrize(
    ("device", "missing"),
    [
        ("cuda", ("libcuda.so.1", "libcublas", "libcudnn.so.9")),
        ("tensorrt-ep", ("libcuda.so.1", "libcublas", "libnvinfer.so.10")),
        ("tensorrt", ("libcuda.so.1", "neither the package tensorrt nor tensorrt_rtx")),
    ],
)
def test_a_device_that_was_asked_for_names_what_is_missing(python, device, missing):
    listed = subprocess.run(
        [python, "-c", "import onnxruntime; print(onnxruntime.get_available_providers())"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "CUDAExecutionProvider" in listed.stdout, "it is listed, although its libraries are missing"
    done = run(python, "infer", SAMPLES[0], "--device", device)
    assert done.returncode == 3
    assert done.stdout == ""
    for library in missing:
        assert library in done.stderr


def test_auto_prints_its_choice_and_no_error(python, tmp_path):
    done = run(python, "infer", *SAMPLES[:2], "--out", tmp_path / "out", "--json")
    assert done.returncode == 0
    assert done.stderr == (
        "Device cpu (fp32): the fastest that works here; not tensorrt or cuda: no NVIDIA driver "
        "(libcuda.so.1 is not found).\n"
    )
    recorded = json.loads((tmp_path / "out" / "run.json").read_text())
    assert (recorded["device"], recorded["precision"]) == ("cpu", "fp32")
    assert "libcuda.so.1" in recorded["device_reason"]


def test_auto_answers_as_the_cpu_package_does(python, model):
    (line,) = run(python, "infer", SAMPLES[0], "--json").stdout.splitlines()
    found = json.loads(line)["probabilities"]
    expected = model.predict(SAMPLES[0])
    assert list(found.values()) == pytest.approx(list(expected.values), abs=1e-6)


def test_two_packages_at_once_and_half_a_package(python):
    """Last: it breaks the environment as users do."""
    pip = [python, "-m", "pip"]
    subprocess.run([*pip, "install", "--quiet", "onnxruntime"], check=True)
    both = run(python, "doctor")
    assert both.returncode == 0
    assert "overwrite each other's files" in " ".join(both.stdout.split())
    subprocess.run([*pip, "uninstall", "--quiet", "--yes", "onnxruntime"], check=True)
    half = run(python, "infer", SAMPLES[0])
    assert half.returncode == 3
    assert "installed in part only" in half.stderr
    doctor = run(python, "doctor", "--device", "cpu", "--json")
    assert doctor.returncode == 3
    assert "installed in part only" in json.loads(doctor.stdout)["devices"]["cpu"]["why"]
