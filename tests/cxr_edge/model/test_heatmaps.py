"""Heat maps: frame, range, emptiness, and no colour where nothing supports a finding."""

import cv2
import numpy as np
import pytest

from cxr_edge import errors
from cxr_edge.model.heatmaps import COLORMAPS, overlay, upsample


def test_every_label_has_a_map_over_the_image(model, image):
    wide = np.ascontiguousarray(image[:700])
    result = model.predict(wide, heatmaps=True)
    assert result.maps.shape == (15, 7, 7)
    assert result.maps.dtype == np.float32
    assert result.maps.min() >= 0
    for label in model.manifest.label_names:
        heatmap = result.heatmap(label)
        assert heatmap.shape == wide.shape
        assert heatmap.dtype == np.float32
        assert heatmap.min() >= 0
        assert heatmap.max() <= 1
        if result.map_of(label).any():
            assert heatmap.max() > 0.9


def test_maps_of_a_mirrored_image_are_mirrored(model, image):
    straight = model.predict(image, tta=True, heatmaps=True).maps
    mirrored = model.predict(np.ascontiguousarray(image[:, ::-1]), tta=True, heatmaps=True).maps
    np.testing.assert_allclose(mirrored[:, :, ::-1], straight, atol=1e-4 * straight.max())


def test_a_result_without_heat_maps_refuses_them(model, image):
    with pytest.raises(errors.HeatmapNotComputed, match="heatmaps=True"):
        model.predict(image).heatmap("Mass")
    with pytest.raises(KeyError, match="Atelectasis"):
        model.predict(image, heatmaps=True).heatmap("Gout")


def test_an_empty_map_stays_empty():
    assert not upsample(np.zeros((7, 7), np.float32), (100, 200)).any()


def test_upsampling_keeps_the_place():
    marked = np.zeros((7, 7), np.float32)
    marked[1, 5] = 3
    heatmap = upsample(marked, (700, 700))
    row, column = np.unravel_index(heatmap.argmax(), heatmap.shape)
    assert abs(row - 149.5) <= 1
    assert abs(column - 549.5) <= 1
    assert heatmap[400:].max() == 0


@pytest.mark.parametrize("colormap", COLORMAPS)
def test_no_colour_where_the_map_is_zero(image, colormap):
    heatmap = np.zeros(image.shape, np.float32)
    heatmap[:100, :100] = 1
    picture = overlay(image, heatmap, colormap)
    np.testing.assert_array_equal(picture[100:], cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)[100:])
    assert (picture[:100, :100] != image[:100, :100, None]).any()


def test_turbo_shows_importance_in_red(image):
    blue, _, red = overlay(image, np.ones(image.shape, np.float32))[500, 500].astype(int)
    assert red > blue
