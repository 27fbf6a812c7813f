"""One network from several fits: the mean of their weights (Wortsman et al. 2022, "Model soups")."""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import keras
import numpy as np

from training.errors import DataError
from training.files import locked, write_json
from training.films import Films, load_part
from training.network import round_kernels_to_half, set_weights, to_float32
from training.run import MODEL, PROVENANCE, read_provenance, save_model, split_of
from training.versions import commit, versions

#: What fits must share, so that a film held out from the mean was held out from each.
SHARED = ("table_sha256", "part_sha256")


def average_runs(runs: Sequence[Path], data: Path, out: Path, batch: int = 32) -> Path:
    """Average the weights of finished fits, and estimate BatchNorm's statistics anew on the training films.

    Fits that began from the same weights lie in one valley of the loss: the mean often ranks films
    better than any of them, at the cost of one network.

    Parameters
    ----------
    runs : sequence of Path
        Run directories of one network on one split; at least two. One named twice counts twice.
    data : Path
        What they were fitted on.
    out : Path
        The run directory of the mean.
    batch : int
        Films at a time for the statistics.

    Returns
    -------
    Path
        The saved ``.keras`` file.

    Raises
    ------
    DataError
        The fits are unfinished, or differ in network, films or split; or `out` holds a model.
    """
    told = [read_provenance(run) for run in runs]
    for run, one in zip(runs[1:], told[1:], strict=True):
        if differing := [key for key in SHARED if one[key] != told[0][key]]:
            raise DataError(f"{run} differs from {runs[0]} in {', '.join(differing)}: expected fits on one split")
    films = split_of(runs[0], data)["train"]
    with locked(out):
        if (out / MODEL).exists():
            raise DataError(f"{out} holds a model already; choose another --out")
        network = mean_network([to_float32(keras.models.load_model(run / MODEL, compile=False)) for run in runs])
        part = load_part(films, network.input_shape[1], "train")
        estimate_batch_norms(network, part.films, batch)
        round_kernels_to_half(network)
        write_json(out / PROVENANCE, _provenance(runs, told))
        save_model(network, out / MODEL)
    return out / MODEL


def mean_network(networks: Sequence[keras.Model]) -> keras.Model:
    """Give the first network the mean of all networks' weights.

    Raises
    ------
    DataError
        They are not the same network.
    """
    first, *others = networks
    shapes = [weight.shape for weight in first.get_weights()]
    if any([weight.shape for weight in other.get_weights()] != shapes for other in others):
        raise DataError("expected fits of one network, got weights of different shapes")
    if any(other.input_shape != first.input_shape for other in others):
        raise DataError(f"expected one size, got {sorted({network.input_shape[1] for network in networks})} px")
    set_weights(first, [np.mean(same, axis=0) for same in zip(*(n.get_weights() for n in networks), strict=True)])
    return first


def estimate_batch_norms(network: keras.Model, films: Films, batch: int = 32, seed: int = 0) -> None:
    """Estimate BatchNorm's means and variances on films, in place: those of a mean of weights are no mean of theirs.

    Parameters
    ----------
    network : keras.Model
    films : Films, (N, H, W) uint8
    batch, seed : int
        Films at a time, and of their order; films that fill no batch are left out.
    """
    order = np.random.default_rng(seed).permutation(len(films))
    batch = min(batch, len(films))
    with (
        _changed(network, keras.layers.Dropout, "rate"),
        _changed(network, keras.layers.BatchNormalization, "momentum"),
    ):
        _set_all(network, keras.layers.Dropout, "rate", 0.0)  # inference drops nothing
        for step in range(len(films) // batch):
            _set_all(network, keras.layers.BatchNormalization, "momentum", step / (step + 1))  # the plain mean
            rows = order[step * batch : (step + 1) * batch]
            network(np.stack([films[row] for row in rows])[..., None].astype(np.float32), training=True)


def _set_all(network: keras.Model, kind: type, name: str, value: float) -> None:
    for layer in network.layers:
        if isinstance(layer, kind):
            setattr(layer, name, value)


@contextmanager
def _changed(network: keras.Model, kind: type, name: str) -> Iterator[None]:
    """Let a setting of all layers of a kind be changed for a while."""
    before = [(layer, getattr(layer, name)) for layer in network.layers if isinstance(layer, kind)]
    try:
        yield
    finally:
        for layer, value in before:
            setattr(layer, name, value)


def _provenance(runs: Sequence[Path], told: list[dict[str, Any]]) -> dict[str, Any]:
    members = [
        {
            "sha256": hashlib.sha256((run / MODEL).read_bytes()).hexdigest(),
            **{key: one[key] for key in ("recipe", "initial", "teachers", "commit", "versions") if key in one},
        }
        for run, one in zip(runs, told, strict=True)
    ]
    shared = {key: told[0][key] for key in ("data", "split", "films", "patients", *SHARED)}
    return {
        **shared,
        "recipe": {"split": told[0]["recipe"]["split"], "mean_of_weights": members},
        "commit": commit(),
        "versions": versions("cxr_edge", "keras", keras.config.backend(), "numpy"),
    }
