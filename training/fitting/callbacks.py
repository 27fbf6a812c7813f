"""Callbacks of a fit: order of images, divergence, progress, time to go, validation, checkpoints."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import keras
import numpy as np
import numpy.typing as npt
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as ProgressBar

from cxr_edge.outputs.csv import safe
from training.data.images import Part
from training.errors import FitError
from training.evaluation.metrics import auc_within, mean_auc
from training.fitting.batches import Batches
from training.fitting.checkpoint import STATE, Progress, save_state
from training.fitting.history import write_history
from training.network.predict import predict_variants
from training.recipe import Stage, Stopping

Logs = dict[str, Any] | None

#: Batches before the time is taken, and those it is taken over.
WARM_UP: Final = 5
TIMED: Final = 20


class Order(keras.callbacks.Callback):  # type: ignore[misc]
    """Draws each epoch's images before it begins."""

    def __init__(self, batches: Batches) -> None:
        super().__init__()
        self._batches = batches

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        """See the class."""
        self._batches.begin(epoch)


class DivergenceGuard(keras.callbacks.Callback):  # type: ignore[misc]
    """Ends a fit at the first loss that is not a number, and names the batch."""

    def __init__(self, batches: Batches, run: Path) -> None:
        super().__init__()
        self._batches, self._run = batches, run
        self._epoch = 0

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        """See the class."""
        self._epoch = epoch

    def on_train_batch_end(self, batch: int, logs: Logs = None) -> None:
        """See the class.

        Raises
        ------
        FitError
        """
        if logs is None or np.isfinite(float(logs["loss"])):
            return
        images = self._batches.part.table.iloc[self._batches.rows(batch)]
        listed = self._run / "diverged-batch.csv"
        shown = images.drop(columns="path", errors="ignore").assign(image=images["image"].map(safe))
        shown.to_csv(listed, index=False)
        raise FitError(
            f"the loss is not a number at epoch {self._epoch + 1}, batch {batch + 1} "
            f"({', '.join(images['image'][:3])}, …; all {len(images)} images: {listed.name}). "
            "These images or the step before them are the cause: check the images, or lower the learning rate"
        )


class ProgressLine(keras.callbacks.Callback):  # type: ignore[misc]
    """Shows how far the stage is and the time left, and one line an epoch."""

    def __init__(self, name: str, steps: int, epochs: int, progress: Progress) -> None:
        super().__init__()
        columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()
        self._bar = ProgressBar(*columns, TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn())
        self._task = self._bar.add_task(name, total=steps * epochs, completed=steps * progress.epochs)
        self._name, self._epochs, self._history = name, epochs, progress.history

    def on_train_begin(self, logs: Logs = None) -> None:
        """See the class."""
        self._bar.start()

    def on_train_batch_end(self, batch: int, logs: Logs = None) -> None:
        """See the class."""
        self._bar.update(self._task, advance=1)

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        """See the class."""
        row = self._history[-1]
        left = self._bar.tasks[0].time_remaining
        figures = ", ".join(f"{key} {row[key]:.4f}" for key in ("loss", "val_loss", "auc", "auc_within"))
        remaining = "" if left is None else f", {left / 60:.0f} min left"
        self._bar.console.print(f"{self._name}, epoch {epoch + 1}/{self._epochs}: {figures}{remaining}")

    def close(self) -> None:
        """Take the bar off the terminal; also after an error."""
        self._bar.stop()


class Estimate(keras.callbacks.Callback):  # type: ignore[misc]
    """Prints once how long this stage and those after it will take, from the time of some batches.

    Parameters
    ----------
    stages : sequence of Stage
        This one, and those after it.
    epochs : int
        Of this stage that are done.
    images : sequence of int
        Of an epoch of each stage.
    batch : int
    """

    def __init__(self, stages: Sequence[Stage], epochs: int, images: Sequence[int], batch: int) -> None:
        super().__init__()
        first = stages[0]
        pixels = [of_epoch * stage.epochs * stage.size**2 for stage, of_epoch in zip(stages, images, strict=True)]
        self._equivalent = sum(pixels) / first.size**2 - epochs * images[0]
        self._size, self._batch, self._seen, self._since = first.size, batch, 0, 0.0

    def on_train_batch_end(self, batch: int, logs: Logs = None) -> None:
        """See the class."""
        self._seen += 1
        if self._seen == WARM_UP:
            self._since = time.monotonic()
        elif self._seen == WARM_UP + TIMED:
            rate = TIMED * self._batch / (time.monotonic() - self._since)
            hours = self._equivalent / rate / 3600
            print(f"About {hours:.1f} h to go: {rate:.0f} images/s at {self._size} px")  # noqa: T201


class Bookkeeper(keras.callbacks.Callback):  # type: ignore[misc]
    """After each epoch: validate, keep the best weights, save the state, and stop when nothing gets better.

    Parameters
    ----------
    network : keras.Model
        The part of the trainer that is kept.
    validation : Part
    loss : callable
        See `training.fitting.losses.make_loss`.
    stopping : Stopping
    progress : Progress
        Kept up to date.
    run : Path
        The run directory.

    Raises
    ------
    FitError
        Validation does not yield the metric that decides.
    """

    def __init__(
        self,
        network: keras.Model,
        validation: Part,
        loss: Callable[[Any, Any], Any],
        stopping: Stopping,
        progress: Progress,
        run: Path,
    ) -> None:
        super().__init__()
        self._network, self._validation, self._loss = network, validation, loss
        self._stopping, self._progress, self._run = stopping, progress, run
        if stopping.keep == "best" or stopping.patience:
            self._require_metric()

    def _require_metric(self) -> None:
        no_scores = np.zeros(self._validation.targets.shape)
        if np.isnan(self._figures(no_scores)[self._stopping.metric]):
            raise FitError(
                f"validation yields no {self._stopping.metric}: no finding has images with and without "
                "it; hold out more patients"
            )

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        """See the class."""
        progress = self._progress
        with averaged_weights(self.model):
            figures = self._validate()
            metric = figures[self._stopping.metric]
            if metric > progress.best:
                progress.best, progress.since_best = metric, 0
            else:
                progress.since_best += 1
            if self._stopping.keep == "last" or progress.since_best == 0:
                save_atomically(self._network, self._run / f"kept-{progress.stage}.keras")
        progress.epochs = epoch + 1
        progress.history.append(
            {"stage": progress.stage, "epoch": epoch + 1, "loss": float((logs or {})["loss"]), **figures}
        )
        save_state(self._run / STATE, self.model, progress)
        write_history(self._run, progress.history)
        if self._stopping.patience and progress.since_best >= self._stopping.patience:
            self.model.stop_training = True

    def _validate(self) -> dict[str, float]:
        scores = predict_variants(self._network, self._validation.images)[:, 0]
        if not np.isfinite(scores).all():
            raise FitError(
                "the network's outputs are not numbers after the last step of the epoch; lower the learning rate"
            )
        inside = np.clip(scores, 1e-7, 1 - 1e-7)
        loss = self._loss(self._validation.targets, np.log(inside / (1 - inside)))
        return {"val_loss": float(np.mean(np.asarray(loss))), **self._figures(scores)}

    def _figures(self, scores: npt.NDArray[Any]) -> dict[str, float]:
        truth, scores = self._validation.findings, scores[:, self._validation.labels.finding_columns]
        collections = self._validation.table["collection"].to_numpy()
        return {"auc": mean_auc(truth, scores), "auc_within": auc_within(truth, scores, collections)}


@contextmanager
def averaged_weights(trainer: keras.Model) -> Iterator[None]:
    """Replace the weights by their moving average, where the optimizer keeps one, and restore them afterwards."""
    optimizer = getattr(trainer.optimizer, "inner_optimizer", trainer.optimizer)  # half precision scales the loss
    if not optimizer.use_ema:
        yield
        return
    weights = trainer.trainable_variables
    raw = [np.array(weight) for weight in weights]
    optimizer.finalize_variable_values(weights)
    try:
        yield
    finally:
        for weight, value in zip(weights, raw, strict=True):
            weight.assign(value)


def save_atomically(network: keras.Model, file: Path) -> None:
    """Save a model; the file is replaced whole or not at all."""
    part = file.with_suffix(".part.keras")
    network.save(part)
    part.replace(file)
