"""The rule that stops early: as narrow as decisions allow, judged on patients it was not fitted on."""

import numpy as np
import pytest

from cxr_edge.labels import DISEASES, LABELS
from cxr_edge.views import SIX_VIEWS
from training.adaptive import COVERAGES, FIRST, TOLERATED, fit_adaptive, held_out_changes

FILMS = 400
PATIENTS = np.arange(FILMS) // 2
HALF = dict.fromkeys(LABELS, 0.5)


def per_view(spread: float) -> np.ndarray:
    """Probabilities whose views differ by so much."""
    rng = np.random.default_rng(0)
    middle = rng.uniform(0.1, 0.9, (FILMS, 1, len(LABELS)))
    return np.clip(middle + spread * rng.normal(size=(FILMS, len(SIX_VIEWS), len(LABELS))), 0.01, 0.99).astype("f4")


def test_the_film_and_its_mirror_image_come_first():
    assert [(SIX_VIEWS[i].flip, SIX_VIEWS[i].brightness) for i in FIRST] == [(False, 1.0), (True, 1.0)]


def test_views_that_agree_need_no_margin():
    rule = fit_adaptive(per_view(0.0), None, HALF, PATIENTS, "films")
    assert set(rule.margins) == set(DISEASES)
    assert max(rule.margins.values()) < 1e-6
    assert f"cover {COVERAGES[0]:.0%}" in rule.fitted_on


def test_views_that_differ_widen_the_margin():
    narrow, wide = (fit_adaptive(per_view(spread), None, HALF, PATIENTS, "films") for spread in (0.01, 0.05))
    assert all(wide.margins[label] > narrow.margins[label] for label in DISEASES)


def test_wider_margins_change_fewer_held_out_decisions():
    rng = np.random.default_rng(0)
    full = rng.normal(size=(FILMS, 14))
    first = full + 0.1 * rng.normal(size=full.shape)
    changes = [held_out_changes(first, full, PATIENTS, coverage) for coverage in (0.0, 0.5, 1.0)]
    assert changes[0] > TOLERATED
    assert changes == sorted(changes, reverse=True)
    assert changes[-1] <= TOLERATED


def test_a_decision_that_flips_far_from_the_threshold_counts():
    full = np.ones((FILMS, 14))
    first = full.copy()
    first[:, 0] = np.where(PATIENTS % 2, -3.0, 1.0)
    assert held_out_changes(first, full, PATIENTS, 0.0) == pytest.approx(0.5 / 14, rel=0.2)
