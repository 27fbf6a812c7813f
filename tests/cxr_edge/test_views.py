"""Views: their arithmetic, and the way back."""

import numpy as np

from cxr_edge.views import IDENTITY, SIX_VIEWS, View, average_maps, make_views


def test_the_six_views_are_flips_times_brightness():
    assert {(v.flip, v.brightness) for v in SIX_VIEWS} == {(f, b) for f in (False, True) for b in (0.9, 1.0, 1.1)}
    assert SIX_VIEWS[0] == IDENTITY


def test_view_arithmetic_rounds_half_to_even_and_clips():
    film = np.array([[0, 5, 25, 255]], np.uint8)
    darker, brighter, mirrored = make_views(
        film, [View(flip=False, brightness=0.9), View(flip=False, brightness=1.1), View(flip=True, brightness=1.0)]
    )
    np.testing.assert_array_equal(darker, [[0, 4, 22, 230]])
    np.testing.assert_array_equal(brighter, [[0, 6, 28, 255]])
    np.testing.assert_array_equal(mirrored, [[255, 25, 5, 0]])


def test_maps_are_flipped_back_before_they_are_averaged():
    marked = np.zeros((1, 1, 7, 7), np.float32)
    marked[..., 2, 1] = 1
    averaged = average_maps(
        np.concatenate([marked, marked[..., ::-1]]), [View(flip=False, brightness=1.0), View(flip=True, brightness=1.0)]
    )
    np.testing.assert_array_equal(averaged, marked[0])
