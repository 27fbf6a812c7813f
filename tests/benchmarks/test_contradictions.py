"""Files whose header contradicts their pixels: 2,000 in any run, more by hand; nothing is silently different."""

import json
import shutil

import pytest

from benchmarks.dicom.contradictions.changes import CHANGES, contradiction
from benchmarks.dicom.contradictions.encode import GREY
from benchmarks.dicom.contradictions.judge import judged
from tests.conftest import ROOT

FILES = 2000
#: Every so many files are shown by dcmtk too.
DCMTK_EVERY = 20


def test_no_file_is_silently_different():
    has_dcmtk = shutil.which("dcm2pnm") is not None
    verdicts = [judged(seed, dcmtk=has_dcmtk and seed % DCMTK_EVERY == 0) for seed in range(FILES)]
    assert [verdict for verdict in verdicts if verdict.outcome == "different"] == []
    outcomes = [verdict.outcome for verdict in verdicts]
    assert all(outcomes.count(outcome) > FILES / 20 for outcome in ("equal", "refused", "warned"))
    assert {change for verdict in verdicts for change in verdict.changes} >= set(CHANGES)
    assert {verdict.syntax for verdict in verdicts} >= set(GREY)
    assert sum("pydicom" in verdict.judges for verdict in verdicts) > FILES / 10
    if has_dcmtk:
        assert sum("dcmtk" in verdict.judges for verdict in verdicts) > FILES / DCMTK_EVERY / 10


@pytest.mark.fast
def test_a_seed_always_makes_the_same_file():
    assert contradiction(7)[1] == contradiction(7)[1] != contradiction(8)[1]


@pytest.mark.fast
@pytest.mark.parametrize("wrong", ["wrapped", "half as bright", "exchanged"])
def test_the_judge_tells_other_levels(monkeypatch, wrong):
    """A file that is read rightly is a find once its levels are changed."""
    from benchmarks.dicom.contradictions import judge

    seed = next(seed for seed in range(100) if judged(seed, dcmtk=False).outcome == "equal")
    decode = judge.images.decode

    def other(data, limits):
        read = decode(data, limits)
        pixels = {"wrapped": read.pixels + 128, "half as bright": read.pixels // 2, "exchanged": 255 - read.pixels}
        object.__setattr__(read, "pixels", pixels[wrong])
        return read

    monkeypatch.setattr(judge.images, "decode", other)
    assert judged(seed, dcmtk=False).outcome == "different"


def test_the_recorded_run_found_nothing():
    recorded = json.loads((ROOT / "benchmarks" / "results" / "dicom" / "contradictions.json").read_text())
    assert recorded["files"] >= 100_000
    assert recorded["outcomes"]["different"] == 0
    assert recorded["finds"] == []
    assert sum(recorded["outcomes"].values()) == recorded["files"]
    documented = (ROOT / "docs" / "dicom.md").read_text()
    assert all(f"{recorded['outcomes'][name]:,}" in documented for name in ("equal", "refused", "warned"))
