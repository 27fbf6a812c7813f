"""One fit: AdamW with warm-up and cosine decay on binary cross-entropy."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
import numpy.typing as npt

from training.augment import augmentation
from training.errors import FitError
from training.initial_weights import initial_network
from training.network import round_kernels_to_half
from training.recipe import Recipe, Stage


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


def fit(recipe: Recipe, parts: Callable[[int], tuple[Part, Part]], run: Path) -> keras.Model:
    """Fit a network and give it back with its kernels rounded to half precision.

    The last epoch's weights are taken: the schedule ends there, and nothing is chosen on
    validation. An interrupted fit goes on after its last whole epoch when it is called again.

    Parameters
    ----------
    recipe : Recipe
    parts : callable
        Size in pixels → training and validation part.
    run : Path
        Directory for the state of an interrupted fit and ``history-*.csv``.

    Returns
    -------
    keras.Model
        As `training.network.build_network` describes it, without the augmentation.
    """
    keras.config.set_dtype_policy(dtype_policy())
    initial = recipe.initial
    for number, stage in enumerate(recipe.stages, 1):
        finished = run / f"stage-{number}.keras"
        if not finished.exists():
            keras.utils.set_random_seed(recipe.seed + number)
            network = initial_network(initial, stage.size)
            _fit_stage(network, recipe, stage, parts(stage.size), run / f"history-{number}.csv")
            _require_finite(network)
            part = finished.with_suffix(".part.keras")
            network.save(part)
            part.replace(finished)
        initial = str(finished)
    network = keras.models.load_model(initial, compile=False)
    round_kernels_to_half(network)
    return network


def _require_finite(network: keras.Model) -> None:
    for weight in network.weights:
        if not np.isfinite(np.asarray(weight)).all():
            raise FitError(f"the fit diverged: {weight.path} holds values that are no numbers; lower the learning rate")


def dtype_policy() -> str:
    """Give the precision a fit computes in: half on a GPU; a CPU is slower in half than in single."""
    return "mixed_float16" if keras.distribution.list_devices("gpu") else "float32"


def _fit_stage(network: keras.Model, recipe: Recipe, stage: Stage, parts: tuple[Part, Part], history: Path) -> None:
    train, validation = parts
    film = keras.Input((stage.size, stage.size, 1))
    trainer = keras.Sequential([film, augmentation(recipe.seed), network], name="trainer")
    trainer.compile(
        optimizer=_optimizer(recipe, stage, steps_per_epoch=-(-len(train.films) // recipe.batch)),
        loss=keras.losses.BinaryCrossentropy(),
        metrics=[keras.metrics.AUC(multi_label=True, num_labels=train.targets.shape[1], name="auc")],
    )
    trainer.fit(
        train.films[..., np.newaxis],
        train.targets,
        batch_size=recipe.batch,
        epochs=stage.epochs,
        validation_data=(validation.films[..., np.newaxis], validation.targets),
        callbacks=[
            keras.callbacks.BackupAndRestore(history.with_suffix(".backup")),
            keras.callbacks.CSVLogger(history, append=True),
            keras.callbacks.TerminateOnNaN(),
        ],
        verbose=2,
    )


def _optimizer(recipe: Recipe, stage: Stage, steps_per_epoch: int) -> keras.optimizers.Optimizer:
    schedule = keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=0.0,
        warmup_target=stage.learning_rate,
        warmup_steps=steps_per_epoch,
        decay_steps=steps_per_epoch * (stage.epochs - 1),
    )
    optimizer = keras.optimizers.AdamW(schedule, weight_decay=recipe.weight_decay)
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    return optimizer
