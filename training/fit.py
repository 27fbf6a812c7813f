"""One fit: AdamW with warm-up and cosine decay on binary cross-entropy."""

from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
import numpy.typing as npt

from training.augment import augmentation
from training.initial_weights import initial_network
from training.network import round_kernels_to_half


@dataclass(frozen=True)
class Recipe:
    """How a network is fitted.

    Attributes
    ----------
    initial : str
        See `training.initial_weights.initial_network`.
    size : int
        Side of the input in pixels.
    epochs, batch : int
    learning_rate : float
        Peak of the schedule: one epoch of linear warm-up, then cosine decay to zero.
    weight_decay : float
        Decoupled (AdamW), on kernels only.
    seed : int
        Of the split, the shuffling, dropout and augmentation.
    """

    initial: str = "lite0"
    size: int = 224
    epochs: int = 10
    batch: int = 32
    learning_rate: float = 1e-3
    weight_decay: float = 1e-4
    seed: int = 0


@dataclass(frozen=True)
class Part:
    """Films and labels of one part of a split.

    Attributes
    ----------
    films : ndarray, (N, size, size) uint8
    targets : ndarray, (N, 15) float32
    """

    films: npt.NDArray[np.uint8]
    targets: npt.NDArray[np.float32]


def fit(recipe: Recipe, train: Part, validation: Part, run: Path) -> keras.Model:
    """Fit a network and give it back with its kernels rounded to half precision.

    The last epoch's weights are taken: the schedule ends there, and nothing is chosen on
    validation. An interrupted fit goes on after its last whole epoch when it is called again.

    Parameters
    ----------
    recipe : Recipe
    train, validation : Part
    run : Path
        Directory for the state of an interrupted fit and ``history.csv``.

    Returns
    -------
    keras.Model
        As `training.network.build_network` describes it, without the augmentation.
    """
    keras.utils.set_random_seed(recipe.seed)
    network = initial_network(recipe.initial, recipe.size)
    trainer = keras.Sequential(
        [keras.Input((recipe.size, recipe.size, 1)), augmentation(recipe.seed), network], name="trainer"
    )
    trainer.compile(
        optimizer=_optimizer(recipe, steps_per_epoch=-(-len(train.films) // recipe.batch)),
        loss=keras.losses.BinaryCrossentropy(),
        metrics=[keras.metrics.AUC(multi_label=True, num_labels=train.targets.shape[1], name="auc")],
    )
    trainer.fit(
        train.films[..., None],
        train.targets,
        batch_size=recipe.batch,
        epochs=recipe.epochs,
        validation_data=(validation.films[..., None], validation.targets),
        callbacks=[
            keras.callbacks.BackupAndRestore(run / "backup"),
            keras.callbacks.CSVLogger(run / "history.csv", append=True),
            keras.callbacks.TerminateOnNaN(),
        ],
        verbose=2,
    )
    round_kernels_to_half(network)
    return network


def _optimizer(recipe: Recipe, steps_per_epoch: int) -> keras.optimizers.Optimizer:
    schedule = keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=0.0,
        warmup_target=recipe.learning_rate,
        warmup_steps=steps_per_epoch,
        decay_steps=steps_per_epoch * (recipe.epochs - 1),
    )
    optimizer = keras.optimizers.AdamW(schedule, weight_decay=recipe.weight_decay)
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    return optimizer
