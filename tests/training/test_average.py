"""The mean of several fits' weights is a run like any other, and its BatchNorm statistics are its own."""

import json
import shutil
from pathlib import Path

import keras
import numpy as np
import pytest

from training import run
from training.average import average_runs, estimate_batch_norms, mean_network
from training.errors import DataError
from training.films import load_part
from training.network import LAST_CONVOLUTION, build_network
from training.nih import read_dataset


def test_every_weight_is_the_mean_of_the_fits_weights():
    networks = [build_network(32) for _ in range(3)]
    expected = [np.mean(same, axis=0) for same in zip(*(n.get_weights() for n in networks), strict=True)]
    for mean, weight in zip(mean_network(networks).get_weights(), expected, strict=True):
        np.testing.assert_allclose(mean, weight, atol=1e-7)
    with pytest.raises(DataError, match="one size"):
        mean_network([build_network(32), build_network(64)])


def test_statistics_of_one_batch_let_inference_equal_training(data):
    films = load_part(read_dataset(data), 32, "all").films
    network = build_network(32)
    estimate_batch_norms(network, films, batch=len(films))
    for layer in network.layers:
        if isinstance(layer, keras.layers.Dropout):
            assert layer.rate > 0
            layer.rate = 0
    features = keras.Model(network.input, network.get_layer(LAST_CONVOLUTION).output)
    shown = films[..., None].astype(np.float32)
    np.testing.assert_allclose(features(shown, training=False), features(shown, training=True), atol=1e-3, rtol=1e-3)


def test_statistics_are_the_plain_mean_over_batches(data):
    films = load_part(read_dataset(data), 32, "all").films
    network = build_network(32)
    first = next(layer for layer in network.layers if isinstance(layer, keras.layers.BatchNormalization))
    estimate_batch_norms(network, films, batch=20)
    seen = keras.Model(network.input, first.input)(films[..., None].astype(np.float32)).numpy()
    np.testing.assert_allclose(first.moving_mean, seen.mean(axis=(0, 1, 2)), atol=1e-4, rtol=1e-3)
    assert first.momentum == pytest.approx(0.99)


def test_the_mean_is_a_run_that_is_calibrated_and_tells_its_members(finished, data, tmp_path):
    out = tmp_path / "mean"
    average_runs([finished, finished], data, out)
    told, of_member = (json.loads((folder / "training.json").read_text()) for folder in (out, finished))
    assert told["recipe"]["split"] == of_member["recipe"]["split"]
    assert [member["recipe"] for member in told["recipe"]["mean_of_weights"]] == [of_member["recipe"]] * 2
    assert run.calibrate_run(out, data).exists()
    with pytest.raises(DataError, match="holds a model"):
        average_runs([finished, finished], data, out)


def test_fits_on_other_splits_are_refused(finished, data, tmp_path):
    other = Path(shutil.copytree(finished, tmp_path / "other"))
    told = json.loads((other / "training.json").read_text())
    (other / "training.json").write_text(json.dumps({**told, "part_sha256": {**told["part_sha256"], "train": "0"}}))
    with pytest.raises(DataError, match="part_sha256"):
        average_runs([finished, other], data, tmp_path / "mean")
