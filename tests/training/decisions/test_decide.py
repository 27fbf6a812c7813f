"""What validation decides: for any names and number of labels, and any position of the normal one."""

import msgspec
import numpy as np
import pandas as pd
import pytest

from cxr_edge.model.calibration import Calibration, calibrate
from cxr_edge.model.manifest import OperatingPoint
from tests.training.conftest import FIVE, NIH14
from training.decisions import decide as decisions
from training.decisions.decide import LEAST_IMAGES, add_early_exits, decide, decide_part
from training.labels import LabelSet
from training.network.tta import VARIANTS

IMAGES = 240


@pytest.fixture(autouse=True)
def few_resamples(monkeypatch):
    """Draw few resamples: enough for these tests."""
    monkeypatch.setattr(decisions, "RESAMPLES", 40)


def validation(labels: LabelSet) -> tuple[pd.DataFrame, np.ndarray]:
    """Return images with well predicted findings, each at its own level, and with the normal label inverted."""
    rng = np.random.default_rng(0)
    targets = (rng.random((IMAGES, len(labels))) < 0.3).astype(np.float32)
    levels = np.linspace(-3, 0, len(labels))
    slopes = np.where([label.is_finding for label in labels.records], 3.0, -3.0)
    log_odds = levels + slopes * targets + 0.3 * rng.normal(size=targets.shape)
    per_variant = log_odds[:, None] + 0.05 * rng.normal(size=(IMAGES, len(VARIANTS), len(labels)))
    table = pd.DataFrame(dict(zip(labels.names, targets.T, strict=True)))
    table = table.assign(patient=np.arange(IMAGES) // 2, collection="NIH")
    return table, (1 / (1 + np.exp(-per_variant))).astype(np.float32)


@pytest.mark.parametrize("labels", [NIH14, FIVE], ids=["shipped", "five"])
def test_every_label_is_calibrated_and_findings_alone_are_decided_on(labels):
    table, per_variant = validation(labels)
    decided = decide(table, labels, per_variant, "images")
    add_early_exits(decided, labels, per_variant, table)
    calibration = msgspec.convert(decided["calibration"], Calibration)
    assert calibration.method == "platt"
    for mode, raw in (("single", per_variant[:, 0]), ("tta", per_variant.mean(axis=1))):
        curves = getattr(calibration, mode)
        assert tuple(curves) == labels.names
        emitted = calibrate(raw.astype(np.float64), curves, labels.names)[:, labels.finding_columns]
        for point in msgspec.convert(decided["operating_points"], dict[str, OperatingPoint]).values():
            thresholds = getattr(point, mode).thresholds
            assert tuple(thresholds) == tuple(point.adaptive.margins) == labels.findings
            called = emitted >= np.array([thresholds[label] for label in labels.findings])
            agreement = (called == table[list(labels.findings)].to_numpy()).mean(axis=0)
            assert agreement.min() > 0.9, "a finding has the threshold of another"
    gain = decided["figures"]["tta_gain"]
    assert gain["second"]["value"] >= gain["first"]["value"] > 0.99, "the inverted normal label counts"


def test_a_label_that_is_rare_among_the_chosen_images_is_decided_on_all():
    table, per_variant = validation(FIVE)
    rare, *common = FIVE.findings
    with_it = np.flatnonzero(table[rare] == 1)
    chosen = np.arange(IMAGES) < IMAGES // 2
    chosen[with_it] = False
    chosen[with_it[: LEAST_IMAGES - 1]] = True
    decided = decide_part(table, FIVE, per_variant, chosen, "images")
    part, whole = decide(table[chosen], FIVE, per_variant[chosen], "images"), decide(table, FIVE, per_variant, "images")
    for mode in ("single", "tta"):
        assert tuple(decided["calibration"][mode]) == FIVE.names
        assert decided["calibration"][mode][rare] == whole["calibration"][mode][rare]
        for name in decided["operating_points"]:
            thresholds, of_part, of_whole = (
                d["operating_points"][name][mode]["thresholds"] for d in (decided, part, whole)
            )
            assert tuple(thresholds) == FIVE.findings
            assert thresholds[rare] == of_whole[rare] != of_part[rare]
            assert all(abs(thresholds[label] - of_part[label]) < 0.05 for label in common)
    assert decide_part(table, FIVE, per_variant, np.ones(IMAGES, bool), "images") == whole


def test_variants_that_rank_worse_are_not_the_default():
    table, per_variant = validation(FIVE)
    assert decide(table, FIVE, per_variant, "images")["default_tta_mode"] == "tta"
    noise = np.random.default_rng(1).random((IMAGES, len(VARIANTS) - 1, len(FIVE)))
    per_variant[:, 1:] = 0.2 * per_variant[:, 1:] + 0.8 * noise
    assert decide(table, FIVE, per_variant, "images")["default_tta_mode"] == "single"
