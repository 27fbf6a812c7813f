"""Calibration as the manifest states it, in the model's results."""

from dataclasses import replace

import msgspec
import numpy as np
import pytest
from scipy.special import expit, logit

from cxr_edge.model.bundle import read_bundle
from cxr_edge.model.calibration import Calibration, Curve, calibrate
from cxr_edge.model.model import Model


def model_with(calibration):
    bundle = read_bundle()
    return Model(replace(bundle, manifest=msgspec.structs.replace(bundle.manifest, calibration=calibration)), "cpu")


@pytest.fixture(scope="module")
def labels():
    return read_bundle().manifest.label_names


def curves(labels, slope, intercept):
    return {label: Curve(slope + i / 10, intercept) for i, label in enumerate(labels)}


@pytest.mark.parametrize("tta", [False, True])
def test_platt_acts_on_the_average_over_the_variants(image_path, labels, tta):
    single, six = curves(labels, 0.8, -0.5), curves(labels, 1.2, 0.3)
    raw = model_with(Calibration("identity")).predict(image_path, tta=tta)
    calibrated = model_with(Calibration("platt", single, six, "images")).predict(image_path, tta=tta)
    slopes = (1.2 if tta else 0.8) + np.arange(len(labels)) / 10
    expected = expit(slopes * logit(np.array(raw.values)) + (0.3 if tta else -0.5))
    np.testing.assert_allclose(calibrated.values, expected, rtol=1e-6)
    spread = {finding.label: finding.std for finding in raw.findings}
    for finding in calibrated.findings:
        assert finding.std == spread.get(finding.label, finding.std), "std is over the raw probabilities"
        assert finding.positive == (finding.probability >= finding.threshold)


def test_calibration_keeps_the_order_and_stays_a_probability(labels):
    raw = np.sort(np.concatenate([[0, 1], np.random.default_rng(0).random(100)]))[:, None].repeat(len(labels), axis=1)
    emitted = calibrate(raw, curves(labels, 2.0, 1.0), labels)
    assert (np.diff(emitted, axis=0) >= 0).all()
    assert 0 <= emitted.min() < emitted.max() <= 1


def test_identity_emits_the_raw_probabilities(labels):
    raw = np.random.default_rng(0).random((3, len(labels)))
    assert calibrate(raw, None, labels) is raw
