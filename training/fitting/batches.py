"""The batches of an epoch: which images, in what order, varied how; the same for the same seed."""

import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
from scipy.special import expit

from training.data.images import Part
from training.data.nih import SIDE
from training.fitting.augment import augment
from training.fitting.distillation import Teachers
from training.fitting.losses import collection_priors
from training.recipe import Recipe, Sampling


class Batches(keras.utils.PyDataset):  # type: ignore[misc]
    """The training part in batches.

    Everything random follows from the seed, the epoch and the place in the epoch, so that an
    interrupted fit continues with exactly the images it would have seen. Every batch is whole, the
    last one filled up from the beginning of the epoch: devices share it evenly.

    Parameters
    ----------
    part : Part
    recipe : Recipe
    stage : int
        From 1; each has orders and augmentations of its own.

    Attributes
    ----------
    part : Part
    """

    def __init__(self, part: Part, recipe: Recipe, stage: int = 1) -> None:
        # One worker: Keras's queue for several carries batches of one epoch into the next.
        super().__init__(workers=1)
        self._pool = ThreadPoolExecutor(os.cpu_count())
        self.part = part
        self._recipe = recipe
        self._stage = stage
        how = recipe.distillation
        size = recipe.stages[stage - 1].size
        self._teachers = Teachers(how.teachers, len(part.labels), how.size or size) if how.teachers else None
        self._small = (part.table[SIDE] < size).to_numpy()
        self._priors = collection_priors(
            part.targets, part.table["collection"].to_numpy(), recipe.loss.collection_prior
        )
        self.begin(0)

    def begin(self, epoch: int) -> None:
        """Draw the images of an epoch, counted from 0."""
        self._epoch = epoch
        rng = np.random.default_rng([self._recipe.seed, self._stage, epoch])
        order = epoch_rows(self.part.targets, self._small, self._recipe.sampling, rng)
        steps = -(-len(order) // self._recipe.batch)
        self._order = np.resize(order, steps * self._recipe.batch)

    def __len__(self) -> int:
        return len(self._order) // self._recipe.batch

    def __getitem__(self, index: int) -> tuple[tuple[npt.NDArray[np.float32], ...], npt.NDArray[np.float32]]:
        """Return one batch, all float32: ((images (n, size, size, 1) 0..255, priors), targets 0..1), (n, labels)."""
        rows = self.rows(index)
        seeds = [[self._recipe.seed, self._stage, self._epoch, index, place] for place in range(len(rows))]
        images = np.stack(list(self._pool.map(self._image, rows, seeds)))[..., None].astype(np.float32)
        return (images, self._priors[rows]), self._targets(rows, images)

    def _targets(self, rows: npt.NDArray[np.int64], images: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        labels = self.part.targets[rows]
        if self._teachers is None:
            return labels
        weight = np.float32(self._recipe.distillation.weight)
        # The loss sees logits under the prior, like the labels; the teachers' answer must be under it too.
        answer = expit(self._teachers.logits(images) + self._priors[rows])
        return np.asarray((1 - weight) * labels + weight * answer, np.float32)

    def _image(self, row: int, seed: list[int]) -> npt.NDArray[np.uint8]:
        return augment(self.part.images[row], self._recipe.augmentation, np.random.default_rng(seed))

    def rows(self, index: int) -> npt.NDArray[np.int64]:
        """Return which images of the part are in a batch of this epoch."""
        return self._order[index * self._recipe.batch : (index + 1) * self._recipe.batch]


def epoch_rows(
    targets: npt.NDArray[Any], small: npt.NDArray[np.bool_], how: Sampling, rng: np.random.Generator
) -> npt.NDArray[np.int64]:
    """Draw the images of an epoch: every image once, rare labels' images again, all of it shuffled.

    A label is filled up by its own count alone, though an image drawn for one label brings its
    others along: every epoch then has the same length, but where small images are drawn anew.

    Parameters
    ----------
    targets : ndarray, (N, labels)
    small : ndarray, (N,) bool
        Images stored smaller than the stage's size.
    how : Sampling
        A label without any image stays without.

    Returns
    -------
    ndarray of int
        Rows of `targets`.
    """
    shown = _with_few_small(small, how.small_share, rng)
    rows = [shown]
    for label in range(targets.shape[1]):
        candidates = shown[targets[shown, label] > 0]
        if 0 < len(candidates) < how.min_per_class:
            rows.append(_spread(candidates, how.min_per_class - len(candidates), rng))
    return rng.permutation(np.concatenate(rows))


def _with_few_small(
    small: npt.NDArray[np.bool_], small_share: float, rng: np.random.Generator
) -> npt.NDArray[np.int64]:
    """Return all images that are not small, and so many others, drawn at random, that these are at most this share."""
    few, large = np.flatnonzero(small), np.flatnonzero(~small)
    if small_share < 1 and len(large):
        most = round(len(large) * small_share / (1 - small_share))
        few = rng.permutation(few)[:most]
    return np.concatenate([large, few])


def _spread(candidates: npt.NDArray[np.int64], count: int, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """Draw so that no image is repeated once more than another before all were."""
    rounds = -(-count // len(candidates))
    return np.concatenate([rng.permutation(candidates) for _ in range(rounds)])[:count]
