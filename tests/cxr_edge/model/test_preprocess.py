"""The resize against OpenCV's: the same averages at any size; what is too small is interpolated."""

import cv2
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from cxr_edge.images import read_image
from cxr_edge.model.preprocess import preprocess
from tests.conftest import SAMPLES


def opencv(image, size):
    return cv2.resize(image, size[::-1], interpolation=cv2.INTER_AREA)


def test_the_samples_are_resized_exactly_as_by_opencv():
    for path in SAMPLES:
        image = read_image(path).pixels
        np.testing.assert_array_equal(preprocess(image, (224, 224)), opencv(image, (224, 224)))


@given(st.integers(64, 700), st.integers(64, 700), st.integers(1, 320), st.integers(1, 320), st.integers(0, 2**32 - 1))
def test_any_size_of_image_and_input(height, width, to_height, to_width, seed):
    image = np.random.default_rng(seed).integers(0, 256, (height, width), dtype=np.uint8)
    ours = preprocess(image, (to_height, to_width))
    averaged = opencv(image, (min(height, to_height), min(width, to_width)))
    expected = cv2.resize(averaged, (to_width, to_height), interpolation=cv2.INTER_CUBIC)
    assert ours.shape == (to_height, to_width)
    assert np.abs(ours.astype(int) - expected).max() <= (1 if averaged.shape == expected.shape else 3)


def test_an_enlarged_image_has_no_squares():
    """``cv2.INTER_AREA`` would repeat each pixel: neighbours within a square are equal, the others are not."""
    image = preprocess(read_image(SAMPLES[0]).pixels, (112, 112))
    steps = np.abs(np.diff(preprocess(image, (224, 224)).astype(int)[32:192, 32:192], axis=1))
    assert 0.5 < steps[:, ::2].mean() / steps[:, 1::2].mean() < 2


def test_an_image_larger_than_one_product():
    image = np.random.default_rng(0).integers(0, 256, (3056, 4001), dtype=np.uint8)
    assert np.abs(preprocess(image, (224, 224)).astype(int) - opencv(image, (224, 224))).max() <= 1


def test_no_level_leaves_its_range():
    assert set(np.unique(preprocess(np.full((1001, 777), 255, np.uint8), (224, 224)))) == {255}
    assert set(np.unique(preprocess(np.zeros((1001, 777), np.uint8), (224, 224)))) == {0}
