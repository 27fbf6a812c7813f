"""Growth is measured on real processes; its figures are complete and consistent, and a failing process is reported."""

import json
import os
import subprocess
import sys

import cv2
import pytest

from benchmarks.growth.figures import fit_line, trend
from benchmarks.growth.folders import make_folder, resize_images
from benchmarks.growth.processes import infer, watch
from cxr_edge.support.parallel import usable_cores
from tests.conftest import ROOT, SAMPLES


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Return the folder of a tiny run."""
    out = tmp_path_factory.mktemp("growth")
    command = [sys.executable, "-m", "benchmarks.growth", "--counts", "2,4", "--sides", "512", "--batches", "1,2"]
    command += ["--each", "2", "--rounds", "1", "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    return out


@pytest.fixture(scope="module")
def figures(written):
    return json.loads((written / "growth.json").read_text())


def test_every_part_has_its_figures(figures):
    assert [row["images"] for row in figures["images"]["rows"]] == [2, 4]
    assert [row["side"] for row in figures["size"]["rows"]] == [512]
    assert [row["batch"] for row in figures["batch"]["rows"]] == [1, 2]
    rows = [row for part in ("images", "size", "cores", "batch") for row in figures[part]["rows"]]
    assert all(row["images_per_second"] > 0 and row["rounds"] == 1 for row in rows)
    assert all(row["peak_mib"] > 20 for row in rows)


def test_cores_run_up_to_all_or_the_reason_is_reported(figures):
    if not hasattr(os, "sched_setaffinity"):
        assert "cores" in figures["cores"]["skipped"]
    else:
        assert figures["cores"]["rows"][0]["cores"] == 1
        assert figures["cores"]["rows"][-1]["cores"] == usable_cores()


def test_throughput_and_memory_fit_together(figures):
    for row in figures["images"]["rows"]:
        assert row["images_per_second"] == pytest.approx(row["images"] / row["seconds"])
        assert max(row["at_mib"].values()) <= row["peak_mib"]
        assert max(mib for _, mib in row["mib_over_seconds"]) <= row["peak_mib"] + 0.1
        assert list(row["at_mib"]) == ["10%", "50%", "100%"]


def test_the_line_goes_through_the_two_counts(figures):
    fit = figures["images"]["fit"]
    for row in figures["images"]["rows"]:
        assert fit["start_up_s"] + row["images"] * fit["ms_per_image"] / 1e3 == pytest.approx(row["seconds"])


def test_the_table_and_the_plot_are_written(written):
    assert "| images | images/s |" in (written / "growth.md").read_text(encoding="utf-8")
    assert cv2.imread(str(written / "growth.png")).shape[0] > 500


def test_a_line_is_fitted_by_least_squares():
    assert fit_line([100, 200, 400], [1.5, 2.5, 4.5]) == pytest.approx(
        {"ms_per_image": 10, "start_up_s": 0.5, "r_squared": 1}
    )
    assert fit_line([100, 200, 300], [1.0, 3.0, 2.0])["r_squared"] == pytest.approx(0.25)
    assert fit_line([100], [1.5]) is None


@pytest.mark.parametrize(("last", "flat"), [(200, True), (209, True), (211, False), (189, False)])
def test_flat_means_that_the_last_third_is_like_the_middle_one(last, flat):
    resident = [20] * 10 + [200] * 10 + [last] * 10
    found = trend([(float(when), float(mib)) for when, mib in enumerate(resident, 1)])
    assert found["flat"] is flat
    assert (found["middle_third_mib"], found["last_third_mib"]) == (200, last)
    assert found["at_mib"] == {"10%": 20, "50%": 200, "100%": last}


def test_a_folder_has_distinct_names_of_few_files(tmp_path):
    folder = make_folder(SAMPLES[:2], 5, tmp_path / "images")
    images = sorted(folder.iterdir())
    assert len(images) == 5
    assert len({path.stat().st_ino for path in images}) == 2
    assert images[4].read_bytes() == SAMPLES[0].read_bytes()


def test_images_keep_their_shape_when_resized(tmp_path):
    (image,) = resize_images(SAMPLES[:1], 600, tmp_path / "resized")
    assert max(cv2.imread(str(image), cv2.IMREAD_GRAYSCALE).shape) == 600


def test_an_image_that_cannot_be_read_ends_with_an_error(tmp_path):
    folder = make_folder(SAMPLES[:1], 1, tmp_path / "images")
    (folder / "broken.png").write_bytes(SAMPLES[0].read_bytes()[:5000])
    with pytest.raises(RuntimeError, match=r"(?s)ended with status 1.*damaged"):
        infer(folder, 2)


def test_a_process_that_leaves_images_out_is_reported(tmp_path):
    folder = make_folder(SAMPLES[:1], 1, tmp_path / "images")
    with pytest.raises(RuntimeError, match="expected 3 lines of results, got 1"):
        infer(folder, 3)


def test_a_failing_process_is_reported_with_its_output():
    with pytest.raises(RuntimeError, match=r"(?s)status 3.*out of images"):
        watch([sys.executable, "-c", "import sys; print('out of images'); sys.exit(3)"])


def test_numbers_are_checked_before_anything_runs():
    command = [sys.executable, "-m", "benchmarks.growth", "--counts", "10,ten"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 2
    assert "whole numbers" in " ".join(done.stderr.replace("│", "").split())
