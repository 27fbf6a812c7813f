"""The benchmark of all devices works on a machine without a GPU, too."""

import json
import subprocess
import sys

import pytest

from cxr_edge.model.bundle import read_bundle
from tests.conftest import ROOT


@pytest.mark.slow
def test_it_reports_what_works_and_what_was_not_checked(no_gpu, with_int8, tmp_path):
    command = [sys.executable, "-m", "benchmarks.gpu", "--rounds", "1", "--bundle", str(with_int8)]
    command += ["--out", str(tmp_path / "found.json")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 3, done.stderr
    assert "No GPU was checked: no NVIDIA driver" in done.stderr
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["rows"]["cpu:fp16"]["max |Δp| tta"] < 0.01
    assert found["rows"]["cpu:int8"]["works"]
    assert not found["rows"]["cuda:fp32"]["works"]
    assert "libcuda.so.1" in found["rows"]["tensorrt:fp16"]["why"]
    variants = len(read_bundle(with_int8).manifest.tta.variants)
    assert set(found["times"]) == {"1", str(variants), "32"}
    assert found["times"][str(variants)]["cpu:fp32"]["ratio"] == 1


def test_it_needs_no_training_packages():
    script = (
        "import sys, benchmarks.gpu; print([n for n in ('pandas', 'sklearn', 'keras', 'onnx') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "[]"
