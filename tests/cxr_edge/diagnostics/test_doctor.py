"""The doctor: devices are tried, missing parts are named, advice names the extra."""

import json
import subprocess
import sys

import pytest
import typer

from cxr_edge.cli.doctor import doctor as command
from cxr_edge.diagnostics import doctor
from cxr_edge.model.bundle import read_bundle


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "cxr_edge", "doctor", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_json_is_complete():
    done = run("--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["devices"]["cpu"] == {"works": True, "precision": "fp32", "why": ""}
    assert found["devices"]["auto"]["works"]
    assert found["bundle"]["sha256"] == read_bundle().sha256
    assert found["bundle"]["gates"]["fp16"]["test"]["over_limits"] == []
    assert found["packages"]["onnxruntime"]
    assert found["machine"]["cpu_features"]
    assert found["machine"]["usable_cores"] >= 1
    assert "cpu" in found["cuda"]["listed"]
    assert "python" in found["dicom"]["decoder"]
    assert found["dicom"]["decoder_fault"] is None
    assert found["engines"]["folder"]


def test_people_get_a_table():
    done = run()
    assert done.returncode == 0, done.stderr
    for text in ("Devices", "works, fp32", "max Δp", "not for diagnosis", read_bundle().sha256[:12]):
        assert text in done.stdout


@pytest.mark.parametrize("device", ["cuda", "tensorrt", "tensorrt-ep"])
def test_a_device_that_does_not_work_is_exit_3(no_gpu, device):
    done = run("--device", device, "--json")
    found = json.loads(done.stdout)
    assert done.returncode == 3
    assert set(found["devices"]) == {device}
    assert not found["devices"][device]["works"]
    assert "libcuda.so.1 is not found" in found["devices"][device]["why"]
    assert found["problems"][0] == "no device that was tried works: see Devices"


def test_a_device_that_works_is_exit_0():
    assert run("--device", "cpu").returncode == 0


def test_a_program_without_a_decoder_is_told(monkeypatch, capsys):
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    with pytest.raises(typer.Exit):
        command("cpu")
    assert "uncompressed only: this frozen program has no decoder" in " ".join(capsys.readouterr().out.split())


def test_an_unknown_device_is_refused():
    done = run("--device", "abacus")
    assert done.returncode == 3
    assert "expected one of the devices auto, cpu" in " ".join(done.stdout.split())


def test_packages_that_overwrite_each_other_are_reported():
    packages = ("onnxruntime", "onnxruntime-gpu", "opencv-python", "opencv-python-headless")
    ours, theirs = doctor.conflicts(dict.fromkeys(packages, "1"))
    assert "onnxruntime and onnxruntime-gpu overwrite" in ours
    assert "the extra gpu" in ours
    assert "opencv-python-headless and opencv-python overwrite" in theirs
    assert doctor.conflicts({"onnxruntime": "1", "opencv-python-headless": "5"}) == []
    (missing,) = doctor.conflicts({})
    assert "install the extra cpu" in missing
