"""One fit: the stages of a recipe, one after the other; each can be resumed after an interruption."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import keras

from training.data.images import Part
from training.fitting.batches import Batches
from training.fitting.callbacks import Bookkeeper, DivergenceGuard, Estimate, Order, ProgressLine
from training.fitting.checkpoint import STATE, Progress, read_progress, restore_state
from training.fitting.losses import make_loss
from training.fitting.plan import images_of_epoch
from training.network.architecture import LOGITS, round_kernels_to_half
from training.network.devices import dtype_policy, gpus, shared_among
from training.network.initial_weights import initial_network
from training.network.kernels import use_fused_kernels
from training.recipe import Optimizer, Recipe, Stage


def fit(
    recipe: Recipe,
    parts: Callable[[int], tuple[Part, Part]],
    run: Path,
    *,
    deterministic: bool = False,
    tensorboard: bool = False,
) -> keras.Model:
    """Fit a network, and return it with its kernels rounded to half precision.

    A fit that an earlier call left in `run` is continued after its last whole epoch, with the
    weights, optimizer and random states of that moment.

    Parameters
    ----------
    recipe : Recipe
    parts : callable
        Size in pixels → training and validation part.
    run : Path
        The run directory.
    deterministic : bool
        Make the same seed yield the same weights on the same machine, at some cost in time.
    tensorboard : bool
        Write event files to ``run/tensorboard``; needs TensorFlow.

    Returns
    -------
    keras.Model
        As `training.network.architecture.build_network` describes it.

    Raises
    ------
    FitError
        The loss is not a number.
    """
    keras.config.set_dtype_policy(dtype_policy())
    if deterministic and keras.config.backend() == "tensorflow":
        import tensorflow as tf

        tf.config.experimental.enable_op_determinism()
    initial = recipe.initial
    for number, stage in enumerate(recipe.stages, 1):
        kept = run / f"stage-{number}.keras"
        if not kept.exists():
            train, validation = parts(stage.size)
            batches = Batches(train, recipe, number)
            with shared_among(gpus()):
                _fit_stage(recipe, number, initial, batches, validation, run, tensorboard=tensorboard)
            (run / f"kept-{number}.keras").replace(kept)
        initial = str(kept)
    network = keras.models.load_model(initial, compile=False)
    round_kernels_to_half(network)
    return network


def _fit_stage(
    recipe: Recipe, number: int, initial: str, batches: Batches, validation: Part, run: Path, *, tensorboard: bool
) -> None:
    stage = recipe.stages[number - 1]
    keras.utils.set_random_seed(recipe.seed + number)
    network = initial_network(initial, len(validation.labels), stage.size, recipe.network)
    use_fused_kernels(network)
    loss = make_loss(recipe.loss, batches.part.targets)
    trainer = make_trainer(network)
    trainer.compile(make_optimizer(recipe.optimizer, stage, len(batches)), loss)
    # Left to the first step, TensorFlow would trace that step twice: it makes the optimizer's variables.
    trainer.optimizer.build(trainer.trainable_variables)
    progress = _progress(run, number, trainer)
    line = ProgressLine(f"stage {number}, {stage.size} px", len(batches), stage.epochs, progress)
    callbacks = [
        Order(batches),
        DivergenceGuard(batches, run),
        Bookkeeper(network, validation, loss, recipe.stopping, progress, run),
        line,
        _estimate(recipe, number, progress, batches.part),
    ]
    if tensorboard:
        callbacks.append(keras.callbacks.TensorBoard(run / "tensorboard" / f"stage-{number}"))
    if 0 < recipe.stopping.patience <= progress.since_best:
        return
    with _closing(line):
        trainer.fit(
            batches, epochs=stage.epochs, initial_epoch=progress.epochs, callbacks=callbacks, verbose=0, shuffle=False
        )


def _estimate(recipe: Recipe, number: int, progress: Progress, train: Part) -> Estimate:
    stages = recipe.stages[number - 1 :]
    images = [images_of_epoch(train.table, recipe, train.labels, stage) for stage in stages]
    return Estimate(stages, progress.epochs, images, recipe.batch)


def make_trainer(network: keras.Model) -> keras.Model:
    """Add the priors of the loss to a network's logits.

    Returns
    -------
    keras.Model
        (images (N, size, size, 1), priors (N, labels)) → logits + priors, (N, labels) float32.
    """
    prior = keras.Input(network.output_shape[1:], name="prior")
    logits = network.get_layer(LOGITS).output
    return keras.Model([network.input, prior], keras.layers.Add(dtype="float32")([logits, prior]), name="trainer")


def make_optimizer(how: Optimizer, stage: Stage, steps_per_epoch: int) -> keras.optimizers.Optimizer:
    """Make the optimizer of a stage, with its schedule."""
    schedule: float | keras.optimizers.schedules.LearningRateSchedule = stage.learning_rate
    if how.schedule == "cosine":
        total = stage.epochs * steps_per_epoch
        warmup = min(round(how.warmup_epochs * steps_per_epoch), total - 1)
        schedule = keras.optimizers.schedules.CosineDecay(
            initial_learning_rate=0.0 if warmup else stage.learning_rate,
            decay_steps=total - warmup,
            warmup_target=stage.learning_rate if warmup else None,
            warmup_steps=warmup,
        )
    average = {"use_ema": True, "ema_momentum": how.ema} if how.ema else {}
    if how.name == "adam":
        return keras.optimizers.Adam(schedule, **average)
    optimizer = keras.optimizers.AdamW(schedule, weight_decay=how.weight_decay, **average)
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    return optimizer


def _progress(run: Path, number: int, trainer: keras.Model) -> Progress:
    """Restore this stage where it was left; or begin it, with the history of those before."""
    state = run / STATE
    if not state.exists():
        return Progress(stage=number)
    left = read_progress(state)
    if left.stage == number:
        return restore_state(state, trainer)
    return Progress(stage=number, history=left.history)


@contextmanager
def _closing(line: ProgressLine) -> Iterator[None]:
    try:
        yield
    finally:
        line.close()
