"""The guard against slower code: counts of the hot path match the recorded ones, and the guard can fail.

CI pins every version that the counts depend on; there a skip is not expected, and fails the run.
"""

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.instructions.allocations import allocated
from benchmarks.instructions.baseline import MARGINS, Baseline, compare, differences, read_baseline
from benchmarks.instructions.measure import MARKER, ValgrindMissing, identity, measure, read_dumps
from benchmarks.instructions.nodes import count_nodes, optimised
from benchmarks.instructions.paths import batches_of, hot_path
from cxr_edge.model.bundle import read_bundle
from cxr_edge.model.preprocess import preprocess

ONE_VARIANT = "array → result, one variant"


def skip_where_the_baseline_does_not_hold(known: dict[str, str]) -> None:
    if other := differences(read_baseline(), known):
        pytest.skip(
            f"python -m benchmarks.instructions --record: the baseline was recorded with another {'; '.join(other)}"
        )


@pytest.mark.slow
def test_an_image_costs_what_was_recorded():
    try:
        skip_where_the_baseline_does_not_hold(identity())
    except ValgrindMissing as missing:
        pytest.skip(str(missing))
    counts, found = measure()
    skip_where_the_baseline_does_not_hold(found)
    changed = [
        f"{row.kind}, {row.name}: {row.found}, recorded {row.baseline}, {row.verdict}"
        for row in compare(counts, read_baseline())
        if row.verdict != "same"
    ]
    assert not changed, "\n".join([*changed, "if it is intended: python -m benchmarks.instructions --record"])


def test_every_part_of_the_hot_path_runs(model, tmp_path):
    counted = batches_of(hot_path(model, tmp_path))
    names, variants = ("one variant", "all variants", "heat maps"), len(model.manifest.tta.variants)
    assert [counted[f"array → result, {name}: inputs"] for name in names] == [1, variants, 1]
    assert counted["array → result, adaptive: calls"] <= 2
    assert counted["array → result, adaptive: inputs"] <= variants
    assert len(list((tmp_path / "heatmaps").glob("*.jpg"))) == 1


def test_another_version_is_named():
    baseline = read_baseline()
    known = {**baseline.identity, "numpy": "1.26.0"}
    assert differences(baseline, baseline.identity) == []
    assert differences(baseline, known) == [f"numpy: {baseline.identity['numpy']} in the baseline, 1.26.0 here"]
    assert differences(replace(baseline, identity={}), {"image": "00"}) == ["image: None in the baseline, 00 here"]


@pytest.mark.parametrize(
    ("found", "verdict"), [(1_000, "same"), (1_030, "same"), (1_031, "more"), (970, "same"), (969, "less")]
)
def test_a_count_beyond_the_margin_is_reported_either_way(found, verdict):
    baseline = Baseline({}, {"instructions": 0.03}, {"instructions": {ONE_VARIANT: 1_000}})
    (row,) = compare({"instructions": {ONE_VARIANT: found}}, baseline)
    assert row.verdict == verdict


@pytest.mark.parametrize(
    ("path", "recorded", "again", "wasteful"),
    [
        (ONE_VARIANT, 21_022_002, 21_019_274, 42_260_920),
        ("array → result, all variants", 23_225_987, 23_200_949, 44_461_972),
        ("file → result, one variant", 96_179_570, 96_603_582, 117_454_585),
    ],
)
def test_an_extra_copy_and_resize_fails_and_another_run_does_not(path, recorded, again, wasteful):
    """Counts; `wasteful` has an added ``cv2.resize(image.copy(), (224, 224), interpolation=cv2.INTER_AREA)``."""
    baseline = Baseline({}, MARGINS, {"instructions": {path: recorded}})
    assert [row.verdict for row in compare({"instructions": {path: again}}, baseline)] == ["same"]
    assert [row.verdict for row in compare({"instructions": {path: wasteful}}, baseline)] == ["more"]


def test_counts_without_a_margin_are_exact_and_new_or_missing_ones_are_reported():
    baseline = Baseline({}, {}, {"nodes": {"Conv": 81, "FusedConv": 16}})
    rows = compare({"nodes": {"Conv": 82, "Relu": 1}}, baseline)
    assert {row.name: row.verdict for row in rows} == {"Conv": "more", "FusedConv": "less", "Relu": "more"}


def test_a_second_resize_exceeds_the_bytes(image):
    def wasteful():
        return preprocess(image.copy(), (224, 224))

    preprocess(image, (224, 224))  # the weights of this size are kept
    total, peak = allocated(lambda: preprocess(image, (224, 224)))
    baseline = Baseline({}, {"bytes": 0.03}, {"bytes": {"total": total, "peak": peak}})
    again = dict(zip(("total", "peak"), allocated(wasteful), strict=True))
    assert again["total"] == pytest.approx(total + image.nbytes, rel=0.01)
    assert {row.verdict for row in compare({"bytes": again}, baseline)} == {"more"}


def test_bytes_that_are_given_back_in_between_count():
    def twice():
        for _ in range(2):
            np.zeros(1_000_000, np.uint8)

    total, peak = allocated(twice)
    assert total == pytest.approx(2_000_000, rel=0.02)
    assert peak == pytest.approx(1_000_000, rel=0.05)


def test_a_lost_fusion_shows():
    bundle = read_bundle()
    _, companion = bundle.manifest.graph_files(bundle.manifest.default_variant)
    graph = bundle.files[companion]
    fused = {"nodes": count_nodes(optimised(graph))}
    rows = compare({"nodes": count_nodes(graph)}, Baseline({}, {}, fused))
    assert "less" in {row.verdict for row in rows if row.name.startswith("Fused")}


def test_only_dumps_at_a_mark_count(tmp_path):
    for number, (trigger, count) in {
        1: (f"--dump-before={MARKER}", 7),
        10: (f"--dump-before={MARKER}", 9),
        2: (f"--dump-before={MARKER}", 8),
        11: ("Program termination", 5),
    }.items():
        (tmp_path / f"counts.{number}-01").write_text(f"desc: Trigger: {trigger}\nsummary: {count}\ntotals: {count}\n")
    (tmp_path / "counts.3-02").write_text(f"desc: Trigger: --dump-before={MARKER}\nsummary: 1\ntotals: 1\n")
    assert read_dumps(tmp_path) == [7, 8, 9]
