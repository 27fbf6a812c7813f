"""The SDK's probabilities on the samples against those of Keras, recorded by tests/record_golden.py."""

import json

import numpy as np
import pytest

from tests.conftest import ROOT, SAMPLES

GOLDEN = json.loads((ROOT / "tests" / "golden.json").read_text())

#: The parity gate's tolerance for probabilities.
TOLERANCE = 1e-4


def test_every_sample_is_recorded():
    assert sorted(GOLDEN) == [path.name for path in SAMPLES]


@pytest.mark.parametrize("mode", ["single", "tta"])
def test_probabilities_are_those_of_keras(model, sample, mode):
    result = model.predict(sample, tta=mode == "tta")
    np.testing.assert_allclose(result.values, GOLDEN[sample.name][mode], atol=TOLERANCE, rtol=0)


def test_the_images_differ_from_one_another():
    values = np.array([GOLDEN[path.name]["single"] for path in SAMPLES])
    assert (values.max(axis=0) - values.min(axis=0) > 10 * TOLERANCE).all()
