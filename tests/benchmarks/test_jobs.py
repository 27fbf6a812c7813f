"""Whole jobs as benchmarks: every job runs, by two versions in turn, and its figures belong together."""

import json
import subprocess
import sys

import pytest

from benchmarks.jobs.commands import JOBS
from tests.conftest import ROOT


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks.jobs", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)


@pytest.mark.slow
def test_jobs_of_two_versions(tmp_path):
    names = ["DICOM, all three", "2500x3000, JPEG 2000"]
    only = [word for name in names for word in ("--only", name)]
    counts = ["--count", 2, "--dicom-count", 2, "--big-count", 1, "--rounds", 1]
    done = run(*only, *counts, "--old", sys.executable, "--out", tmp_path / "jobs.json")
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "jobs.json").read_text())
    assert set(found["jobs"]) == {*names, *(JOBS[name].alone for name in names)}
    for row in found["jobs"].values():
        assert row["times faster"]["n"] == 1
        assert 0.2 < row["times less CPU"]["median"] < 5, "the same version"
        assert row["peak memory in MB"]["this"] > 100
    steps = found["milliseconds of an image"]
    assert steps["dicom"]["DICOM results"] > 0
    assert steps["JPEG 2000"]["decode"] > steps["native"]["decode"]


def test_an_unknown_job_is_refused():
    done = run("--only", "x")
    assert done.returncode == 2
    assert "expected some of PNG; PNG, --cam 3" in " ".join(done.stderr.replace("│", " ").split())
