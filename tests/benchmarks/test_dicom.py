"""The figures of reading DICOM: measured on a small scale, and the recorded ones within their limits."""

import json
from itertools import islice

import pytest

from benchmarks.dicom import survival
from benchmarks.dicom.hostile import hostile_files
from benchmarks.dicom.report import markdown
from benchmarks.dicom.syntaxes import syntaxes
from benchmarks.measure import machine
from tests.conftest import ROOT

RECORDED = json.loads((ROOT / "benchmarks" / "results" / "dicom" / "dicom.json").read_text())
#: Limits of each hostile file: 500 MB in MiB, and milliseconds.
MOST_MIB = 500e6 / 2**20
MOST_MS = 2000


@pytest.mark.slow
def test_both_tables_are_made(image, monkeypatch):
    monkeypatch.setattr(survival, "hostile_files", lambda pixels: islice(hostile_files(pixels), 2))
    figures = {"machine": machine(), "load": 0.0, "image": [300, 250], "rounds": 1, "repeats": 1}
    figures |= {"syntaxes": syntaxes((300, 250), rounds=1), "hostile": survival.hostile_set(image, repeats=1)}
    text = markdown(figures)
    assert all(row["syntax"] in text for row in figures["syntaxes"])
    for row in figures["hostile"]:
        assert row["code"] == "too_large"
        assert row["next_image_is_the_same"]
        assert 50 < row["peak_mib"] < MOST_MIB


def test_the_recorded_image_is_the_same_in_every_syntax():
    for row in RECORDED["syntaxes"]:
        lossless = "Lossy" not in row["syntax"] and ("Lossless" in row["syntax"] or row["decoder"] in ("none", "zlib"))
        assert row["bit_exact"] or not lossless, row["syntax"]
        assert row["largest_shown"] <= 1, row["syntax"]


@pytest.mark.slow
def test_recorded_hostile_files_stay_within_time_and_memory(image):
    assert [row["file"] for row in RECORDED["hostile"]] == [name for name, *_ in hostile_files(image)]
    for row in RECORDED["hostile"]:
        assert row["largest_ms"] < MOST_MS, row["file"]
        assert row["peak_mib"] < MOST_MIB, row["file"]
        assert row["next_image_is_the_same"], row["file"]


def test_the_recorded_report_matches_the_recorded_figures():
    report = (ROOT / "benchmarks" / "results" / "dicom" / "dicom.md").read_text()
    assert report == markdown(RECORDED) + "\n"
