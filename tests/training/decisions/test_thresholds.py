"""Operating points, checked against trying every score."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score, recall_score

from tests.training.conftest import NIH14
from training.decisions.thresholds import (
    OPERATING_POINTS,
    halfway,
    max_f1,
    operating_points,
    screening,
    sensitivity_80,
    youden,
)

PAIRS = st.lists(st.tuples(st.booleans(), st.integers(0, 20)), min_size=3, max_size=60)


def arrays(pairs):
    truth, scores = (np.array(column, np.float32) for column in zip(*pairs, strict=True))
    assume(0 < truth.sum() < len(truth))
    return truth, scores / 20


@settings(deadline=None)
@given(PAIRS)
def test_no_other_threshold_has_a_higher_f1(pairs):
    truth, scores = arrays(pairs)
    best = max(f1_score(truth, scores >= score) for score in scores)
    assert f1_score(truth, scores >= max_f1(truth, scores)) == pytest.approx(best)


@settings(deadline=None)
@given(PAIRS)
def test_no_other_threshold_has_a_higher_youden_index(pairs):
    truth, scores = arrays(pairs)

    def index(threshold):
        called = scores >= threshold
        return recall_score(truth, called) + recall_score(truth, called, pos_label=0) - 1

    assert index(youden(truth, scores)) == pytest.approx(max(index(score) for score in scores))


@settings(deadline=None)
@given(PAIRS)
def test_the_highest_threshold_with_four_of_five_positives(pairs):
    truth, scores = arrays(pairs)
    found = sensitivity_80(truth, scores)
    assert recall_score(truth, scores >= found) >= 0.8
    assert all(recall_score(truth, scores >= score) < 0.8 for score in scores if score > found)


@settings(deadline=None)
@given(PAIRS)
def test_the_lowest_threshold_with_one_false_alarm_in_ten(pairs):
    truth, scores = arrays(pairs)
    found = screening(truth, scores)
    specificity = {score: recall_score(truth, scores >= score, pos_label=0) for score in {*scores.tolist(), found}}
    assert specificity[found] >= 0.9 - 1e-9 or found == scores.max() == 1
    assert all(of_score < 0.9 for score, of_score in specificity.items() if score < found and (scores >= score).any()
               and not np.array_equal(scores >= score, scores >= found))  # fmt: skip


def test_every_operating_point_has_every_finding_and_mode():
    rng = np.random.default_rng(0)
    findings = NIH14.findings
    truth = rng.integers(0, 2, (50, len(findings))).astype(np.float32)
    scores = {"single": rng.random(truth.shape), "tta": rng.random(truth.shape)}
    points = operating_points(truth, scores, findings, "50 images")
    assert list(points) == list(OPERATING_POINTS)
    assert next(iter(points)) == "max_f1"
    for point in points.values():
        for mode, of_mode in scores.items():
            assert point[mode]["fitted_on"] == "50 images"
            assert tuple(point[mode]["thresholds"]) == findings
            for i, label in enumerate(findings):
                threshold = point[mode]["thresholds"][label]
                lowest = of_mode[:, i].min()
                assert lowest <= threshold < of_mode[:, i].max()
                assert threshold == lowest or threshold not in of_mode[:, i]


@settings(deadline=None)
@given(PAIRS, st.sampled_from(sorted(OPERATING_POINTS)))
def test_halfway_to_the_next_score_calls_the_same_images(pairs, name):
    truth, scores = arrays(pairs)
    fitted = OPERATING_POINTS[name](truth, scores)
    moved = halfway(fitted, scores)
    np.testing.assert_array_equal(scores >= moved, scores >= fitted)
    if (scores < fitted).any():
        assert moved not in scores
