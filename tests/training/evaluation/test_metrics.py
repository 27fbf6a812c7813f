"""ROC-AUC pooled and within collections."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from training.evaluation.metrics import Ranked, auc_within, mean_auc

rng = np.random.default_rng(0)


#: Any number of findings.
COUNT = 14


def roc_aucs(truth, scores):
    return Ranked(truth, scores).aucs()


def average_precisions(truth, scores):
    return Ranked(truth, scores).average_precisions()


def synthetic(images=300):
    truth = rng.integers(0, 2, (images, COUNT)).astype(float)
    return truth, truth + rng.normal(0, 1, truth.shape)


def test_perfect_and_inverted_scores():
    truth, _ = synthetic()
    np.testing.assert_array_equal(roc_aucs(truth, truth), 1)
    np.testing.assert_array_equal(roc_aucs(truth, -truth), 0)
    np.testing.assert_array_equal(average_precisions(truth, truth), 1)


def test_figures_are_scikit_learns():
    """With ties, unknown labels, and a finding of one class."""
    for images in (5, 40, 300):
        truth, scores = synthetic(images)
        scores = scores.round(1)
        truth[rng.random(truth.shape) < 0.2] = np.nan
        truth[:, 5] = 0
        for column in range(COUNT):
            known = ~np.isnan(truth[:, column])
            of_known = truth[known, column], scores[known, column]
            ours = [figure(truth, scores)[column] for figure in (average_precisions, roc_aucs)]
            if len(np.unique(of_known[0])) < 2:
                assert np.isnan(ours).all()
                continue
            assert ours == [pytest.approx(score(*of_known)) for score in (average_precision_score, roc_auc_score)]


def test_the_mean_is_that_of_the_table():
    """The reference design's published mean was not the mean of its own table."""
    truth, scores = synthetic()
    scores[:, -1] = -truth[:, -1]
    assert mean_auc(truth, scores) == pytest.approx(roc_aucs(truth, scores).mean())
    assert len(roc_aucs(truth, scores)) == COUNT


def test_unknown_labels_are_left_out():
    truth, scores = synthetic()
    known = truth.copy()
    truth[:100, 3] = np.nan
    scores[:100, 3] = 1e9
    expected = roc_aucs(known[100:], scores[100:])[3]
    assert roc_aucs(truth, scores)[3] == pytest.approx(expected)
    truth[:, 4] = 1
    assert np.isnan(roc_aucs(truth, scores)[4])
    assert not np.isnan(mean_auc(truth, scores))


def test_distinguishing_collections_gains_nothing_within_them():
    """Scores that know the collection alone: good when pooled, chance within."""
    groups = np.repeat(["A", "B"], 500)
    truth = (rng.random((1000, COUNT)) < np.where(groups == "A", 0.8, 0.1)[:, None]).astype(float)
    scores = np.where(groups == "A", 1.0, 0.0)[:, None] + rng.normal(0, 1e-3, truth.shape)
    assert mean_auc(truth, scores) > 0.8
    assert auc_within(truth, scores, groups) == pytest.approx(0.5, abs=0.03)


def test_one_collection_is_the_pooled_figure():
    truth, scores = synthetic()
    assert auc_within(truth, scores, np.repeat("A", len(truth))) == pytest.approx(mean_auc(truth, scores))


def test_within_is_the_share_of_pairs_ranked_rightly():
    truth, scores = synthetic(40)
    groups = rng.integers(0, 3, 40)
    shares = []
    for label in range(COUNT):
        pairs = [
            scores[i, label] > scores[j, label]
            for i in range(40)
            for j in range(40)
            if groups[i] == groups[j] and truth[i, label] > truth[j, label]
        ]
        shares.append(np.mean(pairs))
    assert auc_within(truth, scores, groups) == pytest.approx(np.mean(shares))
