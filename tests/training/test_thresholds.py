"""Thresholds by F1, checked against trying every score."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import f1_score

from cxr_edge.labels import LABELS
from training.thresholds import max_f1_threshold, operating_points


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 20)), min_size=3, max_size=60))
def test_no_other_threshold_has_a_higher_f1(pairs):
    truth = np.array([True, *(positive for positive, _ in pairs)], np.float32)
    scores = np.array([7, *(score for _, score in pairs)]) / 20
    found = max_f1_threshold(truth, scores)
    best = max(f1_score(truth, scores >= score) for score in scores)
    assert f1_score(truth, scores >= found) == pytest.approx(best)


def test_without_a_positive_film_there_is_no_threshold():
    with pytest.raises(ValueError, match="at least one positive"):
        max_f1_threshold(np.zeros(10, np.float32), np.linspace(0, 1, 10))


def test_single_takes_the_first_view_and_tta_the_mean():
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 2, (50, 15)).astype(np.float32)
    per_view = rng.random((50, 6, 15)).astype(np.float32)
    points = operating_points(truth, per_view, "50 films")["max_f1"]
    for i, label in enumerate(LABELS):
        assert points["single"]["thresholds"][label] in per_view[:, 0, i].astype(float)
        assert points["tta"]["thresholds"][label] in per_view[:, :, i].mean(axis=1, dtype=float)
    assert points["tta"]["fitted_on"] == "50 films"
