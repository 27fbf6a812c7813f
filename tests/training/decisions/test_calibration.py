"""Calibration curves find the miscalibration that was added, and are chosen on images they have not seen."""

import msgspec
import numpy as np
import pytest
from scipy.special import expit, logit

from cxr_edge.model.calibration import Calibration, calibrate
from tests.training.conftest import NIH14
from training.decisions.calibration import METHODS, choose_method, platt, platt_ridge, shared

IMAGES = 3000
LABELS = NIH14.names
COUNT = len(LABELS)
MASS = LABELS.index("Mass")


def miscalibrated(slope, intercept, images=IMAGES, seed=0):
    """Draw the truth by true probabilities; return it with probabilities whose log-odds are bent."""
    rng = np.random.default_rng(seed)
    log_odds = rng.normal(-1, 1.5, (images, COUNT))
    truth = (rng.random((images, COUNT)) < expit(log_odds)).astype(np.float32)
    return truth, expit((log_odds - intercept) / slope)


def test_platt_finds_each_labels_own_curve():
    slopes, intercepts = np.linspace(0.5, 1.5, COUNT), np.linspace(-1, 1, COUNT)
    found = platt(*miscalibrated(slopes, intercepts), LABELS)
    np.testing.assert_allclose([found[label].slope for label in LABELS], slopes, rtol=0.15)
    np.testing.assert_allclose([found[label].intercept for label in LABELS], intercepts, atol=0.2)


def test_shared_finds_one_curve():
    curve = shared(*miscalibrated(0.6, -0.5), LABELS)["Mass"]
    assert (curve.slope, curve.intercept) == pytest.approx((0.6, -0.5), rel=0.1)


def test_few_positive_images_stay_near_the_shared_curve():
    truth, raw = miscalibrated(0.6, -0.5, images=200)
    truth[:, MASS] = 0
    truth[:2, MASS] = 1
    ridge, free, middle = (method(truth, raw, LABELS)["Mass"] for method in (platt_ridge, platt, shared))
    assert abs(ridge.slope - middle.slope) <= abs(free.slope - middle.slope) + 1e-6
    truth[:, MASS + 1] = 0
    other = LABELS[MASS + 1]
    assert platt(truth, raw, LABELS)[other] == shared(truth, raw, LABELS)[other], "no positive image: the shared one"


def test_a_curve_never_reverses_the_ranking():
    truth, raw = miscalibrated(1.0, 0.0)
    for method in (shared, platt, platt_ridge):
        curves = method(1 - truth, raw, LABELS)
        assert all(curve.slope > 0 for curve in curves.values())
        emitted = calibrate(raw, curves, LABELS)
        np.testing.assert_allclose(emitted.mean(axis=0), (1 - truth).mean(axis=0), atol=0.06)


def test_classes_that_separate_do_not_make_a_step():
    truth, raw = miscalibrated(1.0, 0.0, images=200)
    truth = (raw > 0.3).astype(np.float32)
    truth[:, MASS] = raw[:, MASS] > np.sort(raw[:, MASS])[-4]
    for method in (platt, platt_ridge):
        curves = method(truth, raw, LABELS)
        fitted = Calibration("platt", single=curves, tta=curves)
        assert max(curve.slope for curve in fitted.single.values()) <= 4
        msgspec.convert(msgspec.to_builtins(fitted), Calibration)  # as the manifest is read


@pytest.mark.parametrize(
    ("slope", "intercept", "allowed"),
    [(1.0, 0.0, {"identity", "shared", "platt_ridge"}), (0.5, -1.0, {"shared", "platt_ridge", "platt"})],
)
def test_the_choice_is_made_on_images_a_curve_has_not_seen(slope, intercept, allowed):
    truth, raw = miscalibrated(slope, intercept, images=400)
    chosen, losses = choose_method(truth, raw, np.arange(400) // 2, LABELS)
    assert chosen in allowed
    assert losses[chosen] == min(losses.values())
    assert set(losses) == set(METHODS)


def test_calibrated_probabilities_match_frequencies():
    truth, raw = miscalibrated(0.5, -1.0)
    emitted = calibrate(raw, platt(truth, raw, LABELS), LABELS)
    assert abs(emitted.mean() - truth.mean()) < 0.01 < abs(raw.mean() - truth.mean())
    assert np.isfinite(logit(emitted)).all()
