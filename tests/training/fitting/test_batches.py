"""What an epoch shows: oversampling spread over it, and augmentation within its bounds."""

import cv2
import numpy as np
import pytest

from cxr_edge.model.preprocess import preprocess
from training.fitting.augment import augment
from training.fitting.batches import epoch_rows
from training.recipe import Augmentation, Sampling

rng = np.random.default_rng(0)
TARGETS = (rng.random((400, 15)) < np.linspace(0.005, 0.6, 15)).astype(np.float32)
TARGETS[0, 0] = 1
SMALL = np.arange(400) % 4 > 0


def draw(how: Sampling, epoch: int):
    return epoch_rows(TARGETS, SMALL, how, np.random.default_rng([0, epoch]))


def test_every_image_is_shown_and_rare_labels_reach_their_number():
    rows = epoch_rows(TARGETS, SMALL, Sampling(min_per_class=100), np.random.default_rng(0))
    assert set(rows) == set(range(400))
    assert TARGETS[rows].sum(axis=0).min() >= 100


def test_rare_images_are_spread_over_the_epoch():
    """The reference project appended them at the end, behind a short shuffle."""
    rare = np.flatnonzero(TARGETS[:, 0])
    rows = epoch_rows(TARGETS, SMALL, Sampling(min_per_class=200), np.random.default_rng(0))
    places = np.flatnonzero(np.isin(rows, rare)) / len(rows)
    quarters = np.histogram(places, bins=4, range=(0, 1))[0] / len(places)
    assert quarters.min() > 0.15


def test_each_epoch_is_drawn_anew_and_as_long():
    epochs = [draw(Sampling(min_per_class=150), epoch) for epoch in range(3)]
    assert len({len(rows) for rows in epochs}) == 1
    counts = [np.bincount(rows, minlength=400) for rows in epochs]
    assert not np.array_equal(counts[0], counts[1])
    for label in range(15):
        images = np.flatnonzero(TARGETS[:, label])
        if 0 < len(images) < 150:
            assert counts[0][images].min() >= 150 // len(images), "no image is left out while another is shown again"


def test_without_oversampling_an_epoch_is_every_image_once():
    assert sorted(draw(Sampling(), 0)) == list(range(400))


def test_small_images_are_at_most_their_share_and_take_turns():
    epochs = [draw(Sampling(small_share=0.5), epoch) for epoch in range(12)]
    for rows in epochs:
        assert len(rows) == len(set(rows)) == 200
        assert SMALL[rows].sum() == 100
    assert len(set(np.concatenate(epochs))) > 390, "every small image has its turn"
    assert sorted(draw(Sampling(small_share=0.75), 0)) == list(range(400)), "there are no more to leave out"
    assert SMALL[draw(Sampling(small_share=0.0), 0)].sum() == 0


def test_where_every_image_is_small_all_are_shown():
    rows = epoch_rows(TARGETS, np.ones(400, bool), Sampling(small_share=0.5), np.random.default_rng(0))
    assert sorted(rows) == list(range(400))


@pytest.fixture(scope="module")
def small(image):
    return preprocess(image, (128, 128))


def test_no_augmentation_changes_nothing(small):
    np.testing.assert_array_equal(augment(small, Augmentation(), np.random.default_rng(0)), small)


def test_a_flip_mirrors(small):
    flipped = augment(small, Augmentation(flip=1 - 1e-9), np.random.default_rng(0))
    np.testing.assert_array_equal(flipped, small[:, ::-1])


@pytest.mark.parametrize(
    "how",
    [
        Augmentation(rotation=10),
        Augmentation(zoom=0.1),
        Augmentation(shift=0.05),
        Augmentation(brightness=0.1),
        Augmentation(contrast=0.2),
        Augmentation(gamma=0.3),
        Augmentation(boxes=1.0),
        Augmentation(reduce=1.0),
    ],
    ids=lambda how: next(f for f in how.__struct_fields__ if getattr(how, f)),
)
def test_each_kind_varies_an_image_but_leaves_it_recognisable(small, how):
    shown = [augment(small, how, np.random.default_rng(seed)) for seed in range(20)]
    assert all(one.shape == small.shape and one.dtype == np.uint8 for one in shown)
    assert sum(np.array_equal(one, small) for one in shown) <= 1
    middle = (slice(32, 96), slice(32, 96))
    likeness = [np.corrcoef(one[middle].ravel(), small[middle].ravel())[0, 1] for one in shown]
    assert np.median(likeness) > 0.6


def test_brightness_stays_within_its_bound(small):
    inside = (small > 40) & (small < 215)
    for seed in range(20):
        shown = augment(small, Augmentation(brightness=0.1), np.random.default_rng(seed)).astype(int)
        assert np.abs(shown - small)[inside].max() <= 26


def test_boxes_are_black_and_bounded(small):
    for seed in range(20):
        shown = augment(small, Augmentation(boxes=1.0), np.random.default_rng(seed))
        changed = shown != small
        assert (shown[changed] == 0).all()
        assert changed.mean() < 0.13


def sharpness(image):
    return float(cv2.Laplacian(image.astype(np.float32), cv2.CV_32F).std())


def test_a_reduced_image_is_as_blurred_as_one_stored_so_small(small):
    """Between the image itself and the same image stored with 64 pixels."""
    stored = preprocess(preprocess(small, (64, 64)), (128, 128))
    shown = [sharpness(augment(small, Augmentation(reduce=1.0), np.random.default_rng(seed))) for seed in range(40)]
    assert sharpness(stored) * 0.9 < min(shown) < sharpness(stored) * 1.2
    assert sharpness(small) * 0.7 < max(shown) <= sharpness(small) * 1.01


def test_nothing_is_reduced_below_64_pixels(image):
    tiny = preprocess(image, (64, 64))
    np.testing.assert_array_equal(augment(tiny, Augmentation(reduce=1.0), np.random.default_rng(0)), tiny)
