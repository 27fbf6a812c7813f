"""The losses against their formulas, and that weights, alpha and priors are in effect."""

import numpy as np
import pytest

from training.fitting.losses import class_weights, collection_priors, make_loss
from training.recipe import Loss

rng = np.random.default_rng(0)
TRUTH = (rng.random((40, 15)) < 0.3).astype(np.float32)
LOGITS = rng.normal(0, 2, (40, 15)).astype(np.float32)
P = 1 / (1 + np.exp(-LOGITS.astype(np.float64)))


def loss_of(how, truth=TRUTH, logits=LOGITS, fitted_on=TRUTH):
    return np.asarray(make_loss(how, fitted_on)(truth, logits))


def test_cross_entropy():
    expected = -(TRUTH * np.log(P) + (1 - TRUTH) * np.log(1 - P)).mean(axis=1)
    np.testing.assert_allclose(loss_of(Loss()), expected, rtol=1e-4)


def test_focal_with_its_alpha_in_effect():
    """Lin et al. 2017, equation 5. Keras leaves alpha out unless asked to balance the classes."""
    p_t = np.where(TRUTH == 1, P, 1 - P)
    alpha_t = np.where(TRUTH == 1, 0.25, 0.75)
    expected = (alpha_t * (1 - p_t) ** 2 * -np.log(p_t)).mean(axis=1)
    np.testing.assert_allclose(loss_of(Loss("focal", alpha=0.25, gamma=2)), expected, rtol=1e-3)
    assert not np.allclose(loss_of(Loss("focal", alpha=0.25)), loss_of(Loss("focal", alpha=0.75)), rtol=0.01)


def test_asymmetric():
    """Ridnik et al. 2021, equations 4 to 7."""
    shifted = np.maximum(P - 0.05, 0)
    expected = -(TRUTH * np.log(P) + (1 - TRUTH) * shifted**2 * np.log(1 - shifted)).mean(axis=1)
    np.testing.assert_allclose(loss_of(Loss("asymmetric", gamma_negative=2, margin=0.05)), expected, rtol=1e-4)


def test_label_smoothing():
    smooth = TRUTH * 0.9 + 0.05
    expected = -(smooth * np.log(P) + (1 - smooth) * np.log(1 - P)).mean(axis=1)
    np.testing.assert_allclose(loss_of(Loss(label_smoothing=0.1)), expected, rtol=1e-4)


@pytest.mark.parametrize("name", ["cross_entropy", "focal", "asymmetric"])
def test_class_weights_are_applied(name):
    """A rarer label's terms weigh more, by the ratio of the frequencies."""
    fitted_on = np.zeros((100, 15), np.float32)
    for label in range(15):
        fitted_on[: 4 * (label + 1), label] = 1
    weights = class_weights(fitted_on)
    assert weights.mean() == pytest.approx(1)
    assert weights[0] / weights[14] == pytest.approx(15)
    logits = np.zeros((15, 15), np.float32)
    only_one_wrong = np.eye(15, dtype=np.float32)
    logits[only_one_wrong == 1] = -3
    sure = np.where(only_one_wrong == 1, -3, -30).astype(np.float32)
    plain = loss_of(Loss(name), only_one_wrong, sure, fitted_on)
    weighted = loss_of(Loss(name, class_weights=True), only_one_wrong, sure, fitted_on)
    np.testing.assert_allclose(weighted / plain, weights, rtol=1e-3)


def test_no_loss_is_infinite_for_extreme_logits():
    extreme = np.where(TRUTH == 1, -200, 200).astype(np.float32)
    for name in ("cross_entropy", "focal", "asymmetric"):
        assert np.isfinite(loss_of(Loss(name), logits=extreme)).all()


def test_priors_account_for_what_the_collection_predicts():
    """With the prior, a network that ignores the image does best with constant logits."""
    truth = np.zeros((2000, 15), np.float32)
    truth[:800, 0] = 1  # 80 % of collection A, none of B
    collections = np.repeat(["A", "B"], 1000)
    priors = collection_priors(truth, collections, strength=1)
    assert priors[0, 0] > 1 > -1 > priors[-1, 0]
    np.testing.assert_array_equal(priors[0], priors[999])
    overall = np.log(0.4 / 0.6)
    probabilities = 1 / (1 + np.exp(-(priors[[0, -1], 0] + overall)))
    np.testing.assert_allclose(probabilities, [0.8, 0.0], atol=5e-3)
    assert not collection_priors(truth, collections, strength=0).any()
    assert np.abs(collection_priors(truth, np.repeat("A", 2000), strength=5)).max() < 1e-5, "one collection: no prior"


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_the_asymmetric_losss_gradient_is_a_number_where_the_network_is_sure(gamma):
    import tensorflow as tf

    logits = tf.Variable(np.where(TRUTH == 1, 200, -200).astype(np.float32))
    loss = make_loss(Loss("asymmetric", gamma_positive=gamma, gamma_negative=gamma), TRUTH)
    with tf.GradientTape() as tape:
        value = tf.reduce_mean(loss(TRUTH, logits))
    assert np.isfinite(tape.gradient(value, logits)).all()
