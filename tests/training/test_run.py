"""A whole small fit on real films: fit, thresholds, evaluate, and what is written on the way."""

import csv
import json
import shutil
from functools import partial
from pathlib import Path

import keras
import msgspec
import numpy as np
import pandas as pd
import pytest

from cxr_edge.labels import LABELS
from tests.conftest import SAMPLES
from training import run
from training.errors import DataError, FitError
from training.fit import dtype_policy
from training.recipe import Recipe, Stage

RECIPE = Recipe(
    initial="random",
    stages=(Stage(size=32, epochs=2, learning_rate=1e-3), Stage(size=64, epochs=2, learning_rate=1e-3)),
    validation=0.4,
    batch=8,
    weight_decay=1e-4,
    seed=0,
)


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """The repository's films under many names, in a subset's layout."""
    root = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    rows = []
    for patient in range(60):
        name = f"{patient}_0.png"
        shutil.copy(SAMPLES[patient % len(SAMPLES)], root / name)
        labels = [label for label in LABELS[:14] if rng.random() < 0.5] or ["No Finding"]
        if patient % 5 == 0:
            labels = ["No Finding"]
        split = "test" if patient % 4 == 3 else "train_val"
        rows.append({"image": name, "labels": "|".join(labels), "patient": patient, "age": 50, "sex": "F",
                     "view": "PA", "split": split})  # fmt: skip
    pd.DataFrame(rows).to_csv(root / "labels.csv", index=False)
    return root


@pytest.fixture(scope="module")
def finished(data, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("run")
    run.fit_run(data, out, RECIPE)
    return out


def test_a_fit_leaves_a_whole_model_and_its_provenance(finished, data):
    network = keras.models.load_model(finished / "model.keras", compile=False)
    assert network.input_shape == (None, 64, 64, 1)
    assert all(np.isfinite(weight).all() for weight in network.get_weights())
    told = json.loads((finished / "training.json").read_text())
    assert [stage["size"] for stage in told["recipe"]["stages"]] == [32, 64]
    assert sum(told["films"].values()) == 60
    assert set(told["versions"]) == {"keras", "tensorflow", "numpy"}
    for number in (1, 2):
        rows = csv.DictReader((finished / f"history-{number}.csv").read_text().splitlines())
        assert [row["epoch"] for row in rows] == ["0", "1"]


def test_a_run_directory_belongs_to_one_recipe(finished, data):
    with pytest.raises(DataError, match="another recipe"):
        run.fit_run(data, finished, msgspec.structs.replace(RECIPE, seed=1))


def test_a_diverged_fit_is_not_saved(data, tmp_path):
    wild = msgspec.structs.replace(RECIPE, stages=(Stage(size=32, epochs=2, learning_rate=1e30),))
    with pytest.raises(FitError, match="diverged"):
        run.fit_run(data, tmp_path, wild)
    assert not list(tmp_path.glob("*.keras"))


def test_half_precision_is_for_gpus():
    import tensorflow as tf

    expected = "mixed_float16" if tf.config.list_physical_devices("GPU") else "float32"
    assert dtype_policy() == expected


def test_the_saved_model_is_compressed(finished):
    network = keras.models.load_model(finished / "model.keras", compile=False)
    plain = finished / "plain.keras"
    network.save(plain)
    assert (finished / "model.keras").stat().st_size < plain.stat().st_size
    assert not list(finished.glob("*.uncompressed.keras"))


def test_thresholds_then_evaluation(finished, data, monkeypatch, tmp_path):
    monkeypatch.setattr(run, "evaluate", partial(run.evaluate, resamples=50))
    monkeypatch.setattr(run, "TEST_LOOKS", tmp_path / "results" / "test_looks.jsonl")
    points = json.loads(run.fit_operating_points(finished, data).read_text())
    assert set(points["max_f1"]["tta"]["thresholds"]) == set(LABELS)
    run.evaluate_run(finished, data, "validation")
    assert not run.TEST_LOOKS.exists()
    figures = json.loads(run.evaluate_run(finished, data, "test").read_text())
    assert figures["view_modes"]["single"]["films"] == 15
    (look,) = map(json.loads, run.TEST_LOOKS.read_text().splitlines())
    assert look["mean_auc"]["tta"] == figures["view_modes"]["tta"]["mean_auc"]
    assert look["model_sha256"] == figures["model_sha256"]


def test_other_films_would_mean_another_split(finished, data, tmp_path):
    other = Path(shutil.copytree(data, tmp_path / "other"))
    (other / "0_0.png").unlink()
    with (
        pytest.warns(UserWarning, match="59 of"),
        pytest.raises(DataError, match="expected the table the model was fitted on"),
    ):
        run.fit_operating_points(finished, other)
