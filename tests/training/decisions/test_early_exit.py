"""The rule that stops early: as narrow as decisions allow, judged on patients it was not fitted on."""

import numpy as np
import pytest

from cxr_edge.model.early_exit import EarlyExit
from tests.training.conftest import NIH14
from training.decisions.early_exit import COVERAGES, FIRST, TOLERATED, fit_early_exit, held_out_changes
from training.network.tta import VARIANTS

IMAGES = 400
PATIENTS = np.arange(IMAGES) // 2
HALF = dict.fromkeys(NIH14.findings, 0.5)


def fitted(spread: float) -> EarlyExit:
    """Fit the rule on probabilities whose variants differ by so much."""
    rng = np.random.default_rng(0)
    middle = rng.uniform(0.1, 0.9, (IMAGES, 1, len(HALF)))
    per_variant = np.clip(middle + spread * rng.normal(size=(IMAGES, len(VARIANTS), len(HALF))), 0.01, 0.99)
    return fit_early_exit(per_variant[:, FIRST].mean(axis=1), per_variant.mean(axis=1), HALF, PATIENTS, "images")


def test_the_image_and_its_mirror_image_come_first():
    assert [(VARIANTS[i].flip, VARIANTS[i].brightness) for i in FIRST] == [(False, 1.0), (True, 1.0)]


def test_variants_that_agree_need_no_margin():
    rule = fitted(0.0)
    assert rule.first == FIRST
    assert set(rule.margins) == set(NIH14.findings)
    assert max(rule.margins.values()) < 1e-6
    assert f"cover {COVERAGES[0]:.0%}" in rule.fitted_on


def test_variants_that_differ_widen_the_margin():
    narrow, wide = (fitted(spread) for spread in (0.01, 0.05))
    assert all(wide.margins[label] > narrow.margins[label] for label in NIH14.findings)


def test_margins_are_named_in_the_order_of_the_columns():
    """Only the last finding's variants differ: it alone has a margin."""
    full = np.full((IMAGES, len(HALF)), 0.8)
    first = full.copy()
    first[:, -1] += np.random.default_rng(0).normal(0, 0.02, IMAGES)
    rule = fit_early_exit(first, full, HALF, PATIENTS, "images")
    assert [label for label, margin in rule.margins.items() if margin] == [NIH14.findings[-1]]


def test_wider_margins_change_fewer_held_out_decisions():
    rng = np.random.default_rng(0)
    full = rng.normal(size=(IMAGES, 14))
    first = full + 0.1 * rng.normal(size=full.shape)
    changes = [held_out_changes(first, full, PATIENTS, coverage) for coverage in (0.0, 0.5, 1.0)]
    assert changes[0] > TOLERATED
    assert changes == sorted(changes, reverse=True)
    assert changes[-1] <= TOLERATED


def test_a_decision_that_flips_far_from_the_threshold_counts():
    full = np.ones((IMAGES, 14))
    first = full.copy()
    first[:, 0] = np.where(PATIENTS % 2, -3.0, 1.0)
    assert held_out_changes(first, full, PATIENTS, 0.0) == pytest.approx(0.5 / 14, rel=0.2)
