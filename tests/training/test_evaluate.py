"""ROC-AUC and its intervals."""

import numpy as np

from training.evaluate import evaluate, roc_aucs


def synthetic(films, seed=0):
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 2, (films, 15)).astype(np.float32)
    return truth, truth + rng.normal(0, 1, truth.shape), np.arange(films)


def test_perfect_and_inverted_scores():
    truth, _, _ = synthetic(50)
    np.testing.assert_array_equal(roc_aucs(truth, truth.astype(float)), 1)
    np.testing.assert_array_equal(roc_aucs(truth, -truth.astype(float)), 0)


def test_the_mean_is_over_the_14_diseases():
    truth, scores, patients = synthetic(200)
    scores[:, 14] = -truth[:, 14]
    figures = evaluate(truth, scores, patients, resamples=200)
    assert len(figures["findings"]) == 14
    of_findings = [figure["auc"] for figure in figures["findings"].values()]
    np.testing.assert_allclose(figures["mean_auc"]["auc"], np.mean(of_findings), atol=1e-4)
    low, high = figures["mean_auc"]["interval"]
    assert low < figures["mean_auc"]["auc"] < high


def test_films_of_one_patient_are_drawn_together():
    """Repeating every film ten times adds no patient, so it must not narrow the interval."""
    truth, scores, patients = synthetic(100)
    once = evaluate(truth, scores, patients, resamples=200)["mean_auc"]["interval"]
    repeated = evaluate(*(np.repeat(a, 10, axis=0) for a in (truth, scores, patients)), resamples=200)["mean_auc"][
        "interval"
    ]
    np.testing.assert_allclose(repeated, once, atol=0.005)
