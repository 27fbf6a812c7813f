"""The state of an unfinished stage on disk: enough to continue to the same result."""

import json
import os
from pathlib import Path
from typing import Any

import keras
import msgspec
import numpy as np

from training.errors import DataError

STATE = "state.npz"


class Progress(msgspec.Struct):
    """The progress of a stage.

    Attributes
    ----------
    stage : int
        From 1.
    epochs : int
        Epochs done.
    best : float
        The best validation metric so far; minus infinity before the first.
    since_best : int
        Epochs since then.
    history : list of dict
        One row an epoch, of this stage and those before.
    """

    stage: int
    epochs: int = 0
    best: float = float("-inf")
    since_best: int = 0
    history: list[dict[str, Any]] = []


def save_state(file: Path, trainer: keras.Model, progress: Progress) -> None:
    """Write weights, BatchNorm statistics, random states, optimizer and progress, all or nothing.

    Parameters
    ----------
    file : Path
        An ``.npz``; arrays alone, nothing pickled.
    trainer : keras.Model
        Compiled.
    progress : Progress
    """
    arrays: dict[str, Any] = {
        f"{index:05d}": np.asarray(variable) for index, variable in enumerate(_variables(trainer))
    }
    part = file.with_suffix(".part.npz")
    with part.open("wb") as stream:
        np.savez(stream, progress=np.frombuffer(_encode(progress), np.uint8), **arrays)
        stream.flush()
        os.fsync(stream.fileno())
    part.replace(file)


def restore_state(file: Path, trainer: keras.Model) -> Progress:
    """Restore the saved state of a trainer, whose optimizer is built.

    Raises
    ------
    DataError
        The state is of another network or optimizer.
    """
    variables = _variables(trainer)
    with np.load(file, allow_pickle=False) as arrays:
        stored = [arrays[name] for name in sorted(arrays.files) if name.isdigit()]
    if [array.shape for array in stored] != [tuple(variable.shape) for variable in variables]:
        raise DataError(f"{file} is of another network or optimizer; fit into another --out")
    for variable, array in zip(variables, stored, strict=True):
        variable.assign(array)
    return read_progress(file)


def read_progress(file: Path) -> Progress:
    """Read the progress of an unfinished stage."""
    with np.load(file, allow_pickle=False) as arrays:
        return _decode(arrays["progress"].tobytes())


def _variables(trainer: keras.Model) -> list[Any]:
    return [*trainer.variables, *trainer.optimizer.variables]


# JSON has no infinity: a best that is not there yet is null.
def _encode(progress: Progress) -> bytes:
    tree = msgspec.to_builtins(progress)
    return json.dumps({**tree, "best": tree["best"] if np.isfinite(tree["best"]) else None}).encode()


def _decode(data: bytes) -> Progress:
    tree = json.loads(data)
    return msgspec.convert({**tree, "best": float("-inf") if tree["best"] is None else tree["best"]}, Progress)
