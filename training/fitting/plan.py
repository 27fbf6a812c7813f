"""What a fit is about to do, printed before it begins: where, on how many images, how many steps, how long."""

import os
from typing import Any, Final

import keras
import numpy as np
import pandas as pd

from training.data.nih import SIDE
from training.data.splits import Parts
from training.errors import FitError
from training.fitting.batches import epoch_rows
from training.labels import LabelSet
from training.network.devices import dtype_policy, gpus
from training.recipe import Recipe, Stage

#: Pixels of network input that a fit on a CPU may show without being asked for: a night of two cores,
#: which fit about a million pixels a second. All of NIH at 224 pixels takes 25 times as many.
MOST_PIXELS_ON_CPU: Final = 4e10
#: Share of the weights that a stage begins with in its average at the end, at most without a word.
MOST_KEPT: Final = 0.05


def describe_plan(parts: Parts, recipe: Recipe, labels: LabelSet, *, cpu_asked_for: bool) -> list[str]:
    """Describe a fit in a few lines.

    Parameters
    ----------
    parts : dict of DataFrame
    recipe : Recipe
    labels : LabelSet
    cpu_asked_for : bool
        The user chose the CPU.

    Raises
    ------
    FitError
        There is no GPU, and the fit would take days.
    """
    train = parts["train"]
    found = gpus()
    shown = [images_of_epoch(train, recipe, labels, stage) for stage in recipe.stages]
    pixels = sum(n * stage.epochs * stage.size**2 for n, stage in zip(shown, recipe.stages, strict=True))
    if not found and not cpu_asked_for and pixels > MOST_PIXELS_ON_CPU:
        raise FitError(
            f"expected a GPU for {len(train):,} images at up to {max(s.size for s in recipe.stages)} pixels, found "
            f"none: on this CPU it would take days. Install the group training-gpu on a machine with one, or choose "
            "--device cpu, fewer images or smaller stages"
        )
    where = ", ".join(found) if found else f"CPU, {os.cpu_count()} cores"
    lines = [f"Fitting on {where} in {dtype_policy()}, by {keras.config.backend()}"]
    for number, (images, stage) in enumerate(zip(shown, recipe.stages, strict=True), 1):
        steps = -(-images // recipe.batch)
        lines.append(
            f"stage {number}: {stage.size} px, {stage.epochs} epochs of about {steps:,} batches of {recipe.batch}; "
            f"{_memory(train, stage)}"
        )
        if (kept := recipe.optimizer.ema ** (steps * stage.epochs)) > MOST_KEPT:
            lines.append(
                f"optimizer.ema={recipe.optimizer.ema:g} is slow for so few steps: {kept:.0%} of the averaged weights "
                "will still be those that the stage begins with; choose a lower one"
            )
    if recipe.sampling.small_share < 1 and train[SIDE].isna().all():
        lines.append("sampling.small_share has no effect: the stored side of the images is unknown; a cache records it")
    return lines


def images_of_epoch(train: pd.DataFrame, recipe: Recipe, labels: LabelSet, stage: Stage) -> int:
    """Count what an epoch shows: see `training.fitting.batches.epoch_rows`."""
    targets, small = train[list(labels.names)].to_numpy(), (train[SIDE] < stage.size).to_numpy()
    return len(epoch_rows(targets, small, recipe.sampling, np.random.default_rng(0)))


def _memory(train: Any, stage: Stage) -> str:
    size = len(train) * stage.size**2 / 2**30
    return f"images read from the cache ({size:.1f} GiB)" if "cache" in train else f"{size:.1f} GiB of images in memory"
