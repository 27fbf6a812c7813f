"""The node's figures: the recorded ones are sound, and a short run works."""

import json

import pytest

from benchmarks.node.load import load
from benchmarks.node.report import markdown
from benchmarks.node.running import RunningSite
from benchmarks.node.site import DICOM_DESTINATION, missing
from tests.conftest import ROOT

RECORDED = ROOT / "benchmarks" / "results" / "node"


def test_the_recorded_figures() -> None:
    """Nothing is lost, doubled or disclosed; and the report is that of the figures."""
    figures = json.loads((RECORDED / "node.json").read_text())
    rows = [*figures["crashes"], figures["load"]["verdict"]]
    assert all(row["trials"] and row["received"] == row["expected"] > 0 for row in rows)
    assert not any(row[wrong] for row in rows for wrong in ("lost", "doubled", "dead", "values"))
    assert (RECORDED / "node.md").read_text() == markdown(figures) + "\n"


def test_a_short_load(tmp_path) -> None:
    if (why := missing()) is not None:
        pytest.skip(why)
    with RunningSite(tmp_path / "site", DICOM_DESTINATION) as site:
        figures = load(site, seconds=12, most=16, progress=lambda _: None)
    full, paced = figures["phases"]
    assert full["images"] + paced["images"] == figures["verdict"]["images"]
    assert 0 < full["p50"] <= full["p99"] <= full["largest"]
    assert full["images_per_second"] > 0
    assert (figures["verdict"]["lost"], figures["verdict"]["doubled"], figures["verdict"]["values"]) == (0, 0, 0)
    assert figures["verdict"]["received"] > 0
    assert figures["memory"][-1]["mib"] > 0
