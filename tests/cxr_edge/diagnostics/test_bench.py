"""`cxr-edge bench`: its figures are consistent, also on images of one's own; its tables are for people."""

import json
import os
import subprocess
import sys

import pytest

from cxr_edge.diagnostics.bench import SAMPLE
from cxr_edge.images import read_image
from cxr_edge.model.bundle import read_bundle
from tests.conftest import SAMPLES


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "cxr_edge", "bench", *map(str, arguments)]
    environment = {**os.environ, "COLUMNS": "120"}
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


def test_the_packaged_image_is_one_of_the_samples():
    assert read_image(SAMPLE).sha256 in {read_image(path).sha256 for path in SAMPLES}


@pytest.mark.slow
def test_figures_are_consistent():
    done = run(*SAMPLES[:2], "--seconds", 0.5, "--device", "cpu", "--threads", 2, "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    bundle = read_bundle()
    assert (found["bundle"], found["device"], found["precision"]) == (bundle.identity, "cpu", "fp32")
    assert found["gate"] == bundle.manifest.variants["fp32"].gate
    assert (found["images"], found["threads"], found["variants"]) == (2, 2, 6)
    latencies = [*found["latency_ms"].values(), *found["network"]]
    assert all(0 < row["p50"] <= row["p90"] <= row["p99"] and row["n"] >= 5 for row in latencies)
    assert [row["batch"] for row in found["network"]] == [1, 2, 4, 6]
    assert all(row["n"] >= 10 and row["images_per_second"] > 0 for row in found["images_per_second"].values())
    assert set(found["shares"]) == {"decode", "resize", "inference", "drawing"}
    assert sum(step["share"] for step in found["shares"].values()) == pytest.approx(1)
    assert found["packages"]["numpy"]


@pytest.mark.slow
def test_tables_and_advice_for_people():
    done = run("--seconds", 0.2, "--device", "cpu")
    assert done.returncode == 0, done.stderr
    for text in ("Latency of one image", "Images per second", "batch 6", "What limits it", "takes most", "1 image"):
        assert text in done.stdout or text.replace("takes", "take") in done.stdout


def test_an_image_that_cannot_be_read_is_named_before_anything_is_timed(tmp_path):
    broken = tmp_path / "broken.png"
    broken.write_bytes(SAMPLES[0].read_bytes()[:5000])
    done = run(broken)
    assert done.returncode == 2
    assert "broken.png: truncated" in done.stderr
    empty = run(tmp_path / "nothing")
    assert empty.returncode == 2
    assert "not_found" in empty.stderr


def test_a_device_that_is_not_available_ends_with_3(no_gpu):
    assert run("--device", "cuda").returncode == 3
    assert run("--precision", "int4").returncode == 2
