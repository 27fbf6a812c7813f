"""TTA variants: their arithmetic, and maps turned back into the frame of the image."""

import numpy as np

from cxr_edge.model.tta import IDENTITY, TtaVariant, average_maps, make_variants
from training.network.tta import VARIANTS


def test_the_shipped_variants_are_flips_times_brightness(model):
    assert {(v.flip, v.brightness) for v in VARIANTS} == {(f, b) for f in (False, True) for b in (0.9, 1.0, 1.1)}
    assert VARIANTS[0] == IDENTITY
    assert model.manifest.tta.variants == VARIANTS


def test_variant_arithmetic_rounds_half_to_even_and_clips():
    image = np.array([[0, 5, 25, 255]], np.uint8)
    darker, brighter, flipped = make_variants(
        image,
        [
            TtaVariant(flip=False, brightness=0.9),
            TtaVariant(flip=False, brightness=1.1),
            TtaVariant(flip=True, brightness=1.0),
        ],
    )
    np.testing.assert_array_equal(darker, [[0, 4, 22, 230]])
    np.testing.assert_array_equal(brighter, [[0, 6, 28, 255]])
    np.testing.assert_array_equal(flipped, [[255, 25, 5, 0]])


def test_maps_are_flipped_back_before_they_are_averaged():
    marked = np.zeros((1, 1, 7, 7), np.float32)
    marked[..., 2, 1] = 1
    variants = [TtaVariant(flip=False, brightness=1.0), TtaVariant(flip=True, brightness=1.0)]
    averaged = average_maps(np.concatenate([marked, marked[..., ::-1]]), variants)
    np.testing.assert_array_equal(averaged, marked[0])
