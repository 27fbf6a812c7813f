"""Inputs that show the middle of an image: what is cut out, and maps that lie where the network looked."""

import json

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import cxr_edge
from cxr_edge.images import read_image
from cxr_edge.model.crop import central_part, in_whole_image
from cxr_edge.model.heatmaps import upsample
from cxr_edge.model.preprocess import preprocess
from tests.bundles import make_bundle
from tests.conftest import SAMPLES

SIDES = st.integers(64, 3000)


@given(SIDES, SIDES, st.sampled_from([(224, 224), (320, 256), (224, 512)]))
def test_the_part_is_central_large_and_has_the_shape_of_the_input(height, width, size):
    top, left, rows, columns = central_part((height, width), size)
    assert 0 <= top <= height - rows and 0 <= left <= width - columns  # noqa: PT018
    assert abs((height - rows) - 2 * top) <= 1 and abs((width - columns) - 2 * left) <= 1  # noqa: PT018
    assert rows == height or columns == width
    assert rows / columns == pytest.approx(size[0] / size[1], rel=0.02)


def test_what_is_cut_out_is_stretched_no_more():
    image = np.random.default_rng(0).integers(0, 256, (600, 900), dtype=np.uint8)
    cropped = preprocess(image, (224, 224), "crop")
    np.testing.assert_array_equal(cropped, preprocess(image[:, 150:750], (224, 224)))
    np.testing.assert_array_equal(preprocess(image[:, 150:750], (224, 224), "crop"), cropped)


@pytest.mark.parametrize("shape", [(1000, 700), (700, 1000), (801, 640)])
def test_a_maps_peak_lies_where_it_was_in_the_part(shape):
    """Each cell of the network's grid, and the place of the image that it stands for."""
    top, left, height, width = central_part(shape, (224, 224))
    for row, column in ((0, 0), (3, 2), (6, 6), (0, 6)):
        activation = np.zeros((1, 7, 7), np.float32)
        activation[0, row, column] = 1
        (whole,) = in_whole_image(activation, shape, (224, 224))
        heatmap = upsample(whole, shape)
        y, x = np.unravel_index(heatmap.argmax(), shape)
        assert abs(y - (top + (row + 0.5) * height / 7)) <= height / 14
        assert abs(x - (left + (column + 0.5) * width / 7)) <= width / 14
        inside = np.zeros(shape, bool)
        inside[top : top + height, left : left + width] = True
        margin = max(shape) // 14  # bicubic enlargement reaches two cells of the finer grid beyond
        grown = cv2.dilate(inside.astype(np.uint8), np.ones((2 * margin + 1,) * 2, np.uint8))
        assert not heatmap[grown == 0].any()


def test_a_square_image_is_left_as_it_is():
    maps = np.random.default_rng(0).random((3, 15, 7, 7), np.float32)
    assert in_whole_image(maps, (500, 500), (224, 224)) is maps


@pytest.fixture(scope="module")
def cropping(tmp_path_factory):
    """The shipped network, given the middle of images."""
    out = make_bundle(tmp_path_factory.mktemp("crop") / "bundle", {name: {} for name in ("Mass", "Effusion", "Edema")})
    manifest = json.loads((out / "manifest.json").read_text())
    manifest["input"]["fit"] = "crop"
    (out / "manifest.json").write_text(json.dumps(manifest))
    return cxr_edge.load(out, device="cpu", threads=1)


def test_a_bundle_that_crops_answers_for_the_middle(cropping):
    pixels = read_image(SAMPLES[1]).pixels
    wide = np.pad(pixels, ((0, 0), (200, 300)), constant_values=7)
    top, left, height, width = central_part(wide.shape, (224, 224))
    middle = wide[top : top + height, left : left + width]
    found, expected = (cropping.predict(image, tta=True, heatmaps=True) for image in (wide, middle))
    np.testing.assert_allclose(found.values, expected.values, atol=1e-6)
    assert found.heatmap("Effusion").shape == wide.shape
    maps = found.heatmap("Effusion")[:, left : left + width], expected.heatmap("Effusion")
    # The cells of the whole image's grid are not those of the middle's; a shift by half a cell would give .92.
    assert np.corrcoef(maps[0].ravel(), maps[1].ravel())[0, 1] > 0.98
