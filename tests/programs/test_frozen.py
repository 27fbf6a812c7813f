"""A program that PyInstaller froze with the hook of cxr-edge: it reads images, and is not started again."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import entry_points
from pathlib import Path

import numpy as np
import psutil
import pytest

import cxr_edge
from benchmarks.dicom import dicom_files
from benchmarks.dicom.dicom_files import image, written
from cxr_edge import images
from tests.conftest import SAMPLES

pytestmark = pytest.mark.slow

PROGRAM = """
import os, sys
with open(os.environ["STARTS"], "a") as starts:
    starts.write("started\\n")
import cxr_edge
model = cxr_edge.load(device="cpu", threads=1)
for line in sys.stdin:
    try:
        print(model.predict(line.strip(), tta=False).probabilities, flush=True)
    except cxr_edge.InputError as error:
        print(error.code, error, flush=True)
"""


@pytest.fixture(scope="module")
def build(tmp_path_factory) -> Callable[[str, str], Path]:
    """Return a function that freezes a program and returns it."""
    folder = tmp_path_factory.mktemp("frozen")

    def run(name: str, source: str) -> Path:
        (folder / f"{name}.py").write_text(source)
        command = [sys.executable, "-m", "PyInstaller", "--clean", "--log-level=ERROR", folder / f"{name}.py"]
        work = {"--distpath": folder / "dist", "--workpath": folder / "work", "--specpath": folder}
        options = [str(part) for option in work.items() for part in option]
        environment = {**os.environ, "PYINSTALLER_CONFIG_DIR": str(folder / "cache")}
        done = subprocess.run([*command, *options], env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return folder / "dist" / name / name

    return run


@pytest.fixture(scope="module")
def scanner(build) -> Path:
    """A frozen program that predicts the files that it is told."""
    assert [hook.value for hook in entry_points(group="pyinstaller40") if hook.dist.name == "cxr-edge"] == [
        "cxr_edge.frozen:hook_directories"
    ], "cxr-edge is not installed with its hook: pip install -e ."
    return build("scanner", PROGRAM)


class Running:
    """The program, asked one image after the other."""

    def __init__(self, program: Path, starts: Path) -> None:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        environment |= {"STARTS": str(starts), "PATH": "/usr/bin:/bin"}
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self.process = subprocess.Popen([program], env=environment, cwd="/", **pipes)
        self.starts = starts

    def predict(self, path: Path) -> str:
        self.process.stdin.write(f"{path}\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().strip()

    def children(self) -> list[list[str]]:
        return [child.cmdline()[1:] for child in psutil.Process(self.process.pid).children(recursive=True)]


@pytest.fixture
def running(scanner, tmp_path) -> Iterator[Running]:
    running = Running(scanner, tmp_path / "starts")
    yield running
    running.process.stdin.close()
    assert running.process.wait(60) == 0
    running.process.stdout.close()


def test_it_reads_what_the_package_reads_by_one_decoder(running, model, tmp_path):
    assert running.predict(SAMPLES[0]) == str(model.predict(SAMPLES[0], tta=False).probabilities)
    assert running.children() == []
    pixels = images.read_image(SAMPLES[0]).pixels
    for syntax in dicom_files.CODECS:
        path = tmp_path / f"{syntax}.dcm"
        path.write_bytes(written(dicom_files.compressed(image(pixels), syntax)))
        assert running.predict(path) == str(model.predict(path, tta=False).probabilities), syntax
    assert running.children() == [["--cxr-edge-decoder"]]
    assert running.starts.read_text() == "started\n"


def test_a_damaged_image_costs_one_image(running, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (512, 512), dtype=np.uint8)
    whole, cut = tmp_path / "whole.dcm", tmp_path / "cut.dcm"
    data = written(dicom_files.compressed(image(pixels), dicom_files.JPEG_2000))
    whole.write_bytes(data)
    cut.write_bytes(data[: len(data) // 2])
    assert running.predict(cut).split()[0] in {"truncated", "invalid_header"}
    assert running.predict(whole).startswith("{'")
    assert running.starts.read_text() == "started\n"


def test_the_decoder_s_entry_runs_nothing_of_the_program(scanner, tmp_path):
    environment = {**os.environ, "STARTS": str(tmp_path / "starts")}
    done = subprocess.run(
        [scanner, "--cxr-edge-decoder"], env=environment, stdin=subprocess.DEVNULL, capture_output=True
    )
    assert done.returncode == 0, done.stderr
    assert cxr_edge.__version__.encode() in done.stdout
    assert not (tmp_path / "starts").exists()
