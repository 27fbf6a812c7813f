"""LoadGen drives the real model, its figures fit together, and a failure ends a run with its error."""

import json
import shutil
import subprocess
import sys

import pytest

from benchmarks.scenarios.boundaries import Boundary
from benchmarks.scenarios.runs import measure
from benchmarks.scenarios.scenario import Concurrency, Scenario, concurrency_of
from tests.conftest import ROOT, SAMPLES


@pytest.fixture(scope="module")
def figures(tmp_path_factory):
    """One scenario on two images, as the command writes it."""
    folder = tmp_path_factory.mktemp("images")
    for path in SAMPLES[:2]:
        shutil.copy(path, folder)
    out = folder / "figures.json"
    command = [sys.executable, "-m", "benchmarks.scenarios", "--images", str(folder), "--seconds", "1"]
    command += ["--scenario", "MultiStream", "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    assert "Not MLPerf results" in done.stdout
    return json.loads(out.read_text())


def test_the_figures_name_what_was_measured(figures, model):
    assert figures["images"] == 2
    assert figures["device"] == "cpu"
    assert figures["gate"]
    assert figures["machine"]["packages"]["onnxruntime"]
    assert [row["boundary"] for row in figures["rows"]] == [
        "engine only",
        "array → result",
        "PNG → result",
        "JPEG → result",
        f"array → result, {len(model.manifest.tta.variants)} variants",
        "array → result, heat maps",
    ]


def test_the_figures_fit_together(figures, model):
    for row in figures["rows"]:
        assert row["metric"] == "p99"
        assert row["samples_per_query"] == 8
        assert row["samples"] == 8 * row["queries"] >= 8
        latency = list(row["latency_ms"].values())
        assert latency[0] > 0
        assert latency == sorted(latency)
        assert row["samples_per_second"] > 0
        assert row["batch"] == (len(model.manifest.tta.variants) if "variants" in row["boundary"] else 1)


def test_a_short_run_is_called_invalid_with_its_reason(figures):
    for row in figures["rows"]:
        assert row["verdict"] == "INVALID"  # LoadGen wants 662 queries for a 99th percentile
        assert any("662 queries" in reason for reason in row["reasons"])


@pytest.mark.parametrize("scenario", [Scenario.SINGLE_STREAM, Scenario.OFFLINE])
def test_latency_is_reported_where_there_is_one(scenario, model, image):
    boundary = Boundary("array → result", [image], lambda pixels: model.predict(pixels, tta=False))
    row = measure(boundary, scenario, Concurrency(threads=1, workers=1), seconds=0.5)
    assert (row["latency_ms"] is None) == (scenario is Scenario.OFFLINE)
    assert row["queries"] * row["samples_per_query"] == row["samples"] > 0


def test_every_sample_of_every_query_is_run(image):
    calls = []
    boundary = Boundary("counted", [image], lambda pixels: calls.append(pixels.mean()))
    row = measure(boundary, Scenario.OFFLINE, Concurrency(threads=1, workers=2), seconds=0.1)
    warm_up = 2 * 8
    assert len(calls) == row["samples"] + warm_up


@pytest.mark.parametrize("scenario", Scenario)
@pytest.mark.parametrize("workers", [1, 2])
def test_a_failing_system_ends_with_its_error(scenario, workers, model, image):
    calls = []

    def fail_later(pixels):
        calls.append(pixels)
        if len(calls) >= 20:  # after the warm-up
            raise OSError("the cable is out")
        return model.predict(pixels, tta=False)

    boundary = Boundary("array → result", [image], fail_later)
    with pytest.raises(RuntimeError, match=r"array → result: the run failed \(OSError: the cable is out\)") as raised:
        measure(boundary, scenario, Concurrency(threads=1, workers=workers), seconds=1)
    assert isinstance(raised.value.__cause__, OSError)
    assert len(calls) <= 20 + workers


def test_a_failure_in_the_warm_up_is_reported_too(image):
    def fail(pixels):
        raise OSError("the cable is out")

    with pytest.raises(RuntimeError, match="OSError: the cable is out"):
        measure(Boundary("broken", [image], fail), Scenario.OFFLINE, Concurrency(threads=1, workers=2), seconds=1)


def test_latency_takes_all_cores_for_an_image_and_throughput_one():
    assert concurrency_of(Scenario.SINGLE_STREAM, 4) == Concurrency(threads=4, workers=1)
    assert concurrency_of(Scenario.MULTI_STREAM, 4) == Concurrency(threads=1, workers=4)
    assert concurrency_of(Scenario.OFFLINE, 4) == Concurrency(threads=1, workers=4)


def test_a_folder_without_images_is_refused(tmp_path):
    command = [sys.executable, "-m", "benchmarks.scenarios", "--images", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 2
    assert "contains no PNG file" in " ".join(done.stderr.replace("│", "").split())
