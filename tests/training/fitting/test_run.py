"""A whole small fit on real images: what it writes, what it refuses, and that it survives being killed."""

import csv
import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import keras
import msgspec
import numpy as np
import pytest

from tests.conftest import ROOT
from tests.training.conftest import NIH14, RECIPE, RECIPE_TOML
from training.data.images import load_part
from training.data.nih import read_dataset
from training.data.prepare import prepare
from training.data.splits import split_images
from training.errors import DataError, FitError
from training.fitting import run
from training.fitting.batches import Batches
from training.fitting.callbacks import Bookkeeper
from training.fitting.checkpoint import Progress
from training.fitting.history import HISTORY
from training.fitting.losses import make_loss
from training.fitting.provenance import provenance, resumed_provenance
from training.network.architecture import LOGITS, build_network
from training.network.devices import dtype_policy
from training.network.predict import predict_variants
from training.recipe import Optimizer, Split, Stage, Stopping


def history_of(folder):
    return list(csv.DictReader((folder / HISTORY).read_text().splitlines()))


def test_a_fit_leaves_a_whole_model_its_history_and_its_provenance(finished):
    network = keras.models.load_model(finished / "model.keras", compile=False)
    assert network.input_shape == (None, 64, 64, 1)
    assert all(np.isfinite(weight).all() for weight in network.get_weights())
    recorded = json.loads((finished / "training.json").read_text())
    assert [stage["size"] for stage in recorded["recipe"]["stages"]] == [32, 64]
    assert sum(recorded["images"].values()) == 60
    assert tuple(label["name"] for label in recorded["labels"]) == NIH14.names
    assert set(recorded["versions"]) == {"cxr_edge", "keras", "tensorflow", "numpy"}
    assert set(recorded["part_sha256"]) == {"train", "validation", "test"}
    assert [(row["stage"], row["epoch"]) for row in history_of(finished)] == [
        ("1", "1"), ("1", "2"), ("2", "1"), ("2", "2"),
    ]  # fmt: skip
    assert (finished / "training_curves.png").read_bytes().startswith(b"\x89PNG")
    assert not list(finished.glob("state*")), "a finished fit needs no state"


def test_a_fit_killed_twice_and_resumed_equals_the_unbroken_one(finished, data, tmp_path):
    """Killed within an epoch of each stage; weights within 1e-6 and the same history."""
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(RECIPE_TOML)
    out = tmp_path / "run"
    command = [sys.executable, "-m", "training", "fit", str(data), "--out", str(out), "--recipe", str(recipe),
               "--deterministic"]  # fmt: skip
    for epochs in (1, 3):
        kill_after(command, out / HISTORY, epochs)
        assert not (out / "model.keras").exists()
        command = [*command[:9], "--deterministic", "--resume"]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    assert history_of(out) == history_of(finished)
    found, expected = (keras.models.load_model(folder / "model.keras", compile=False) for folder in (out, finished))
    for mine, theirs in zip(found.get_weights(), expected.get_weights(), strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-6, rtol=0)


def kill_after(command, history, epochs):
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    while not (history.exists() and len(history.read_text().splitlines()) >= 1 + epochs):
        assert process.poll() is None, process.stderr.read().decode()
        time.sleep(0.01)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    process.stderr.close()


def test_a_run_directory_belongs_to_one_recipe(finished, data):
    with pytest.raises(DataError, match="another recipe"):
        run.fit_run(data, finished, msgspec.structs.replace(RECIPE, seed=1), resume=True)
    with pytest.raises(DataError, match="--resume"):
        run.fit_run(data, finished, RECIPE)
    assert run.fit_run(data, finished, RECIPE, resume=True) == finished / "model.keras"


def test_a_loss_that_is_not_a_number_ends_the_fit_and_names_the_batch(data, tmp_path):
    wild = msgspec.structs.replace(
        RECIPE,
        stages=(Stage(size=32, epochs=2, learning_rate=1e30),),
        optimizer=Optimizer(schedule="constant"),
    )
    with pytest.raises(FitError, match=r"epoch 1, batch \d+ \(\d+_0.png"):
        run.fit_run(data, tmp_path, wild)
    named = (tmp_path / "diverged-batch.csv").read_text().splitlines()
    assert named[0].startswith("image,patient")
    assert len(named) == 1 + RECIPE.batch
    assert not (tmp_path / "model.keras").exists()


@pytest.fixture(scope="module")
def data_with_a_ruined_test_part(data, tmp_path_factory):
    """A copy of the data in which opening a test image fails."""
    copy = Path(shutil.copytree(data, tmp_path_factory.mktemp("ruined") / "data"))
    images = read_dataset(copy, NIH14)
    for path in images.loc[images["official"] == "test", "path"]:
        path.write_bytes(b"ruined")
    return copy


def one_short_stage(**changes):
    return msgspec.structs.replace(RECIPE, stages=(Stage(size=32, epochs=1, learning_rate=1e-3),), **changes)


def test_weights_that_break_at_the_last_step_end_the_fit(data, tmp_path):
    """The loss of a step is computed before its update. Which check such weights fail depends on the machine."""
    wild = msgspec.structs.replace(
        one_short_stage(batch=64, optimizer=Optimizer(schedule="constant")),
        stages=(Stage(size=32, epochs=1, learning_rate=1e30),),
    )
    with pytest.raises(FitError, match=r"(beyond half precision|outputs are not numbers).*lower the learning rate"):
        run.fit_run(data, tmp_path, wild)


def test_outputs_that_are_not_numbers_end_the_fit(data, tmp_path):
    network = build_network(len(NIH14), 32)
    network.get_layer(LOGITS).bias.assign(np.full(len(NIH14), np.nan, np.float32))
    part = load_part(read_dataset(data, NIH14), 32, "all", NIH14)
    keeper = Bookkeeper(network, part, make_loss(RECIPE.loss, part.targets), Stopping(), Progress(1), tmp_path)
    with pytest.raises(FitError, match="outputs are not numbers"):
        keeper._validate()


def test_the_metric_of_a_fit_is_over_the_findings(data, tmp_path):
    """The reference design's published mean was not the mean of its own table."""
    part = load_part(read_dataset(data, NIH14), 32, "all", NIH14)
    keeper = Bookkeeper(None, part, None, Stopping(), Progress(1), tmp_path)
    scores = 1 - part.targets
    assert keeper._figures(scores) == {"auc": 0, "auc_within": 0}
    scores[:, NIH14.finding_columns] = part.findings
    assert keeper._figures(scores) == {"auc": 1, "auc_within": 1}


def test_a_metric_that_validation_does_not_yield_ends_the_fit(data, tmp_path, capsys):
    images = read_dataset(data, NIH14).query("official == 'train_val'")
    healthy = images[images["No Finding"] == 1].index[:3]
    parts = images.assign(split="train").assign(split=lambda f: f["split"].where(~f.index.isin(healthy), "validation"))
    parts[["image", "split"]].to_csv(tmp_path / "split.csv", index=False)
    split = Split(scheme="file", file=str(tmp_path / "split.csv"))
    with pytest.raises(FitError, match="validation yields no auc"):
        run.fit_run(data, tmp_path / "run", one_short_stage(split=split, stopping=Stopping(keep="best")), resume=True)
    printed = capsys.readouterr().out
    assert "validation 3 images of 3 patients" in printed
    assert "15 images in no part" in printed
    assert "`calibrate` will refuse this run" in printed
    assert "nothing to resume" in printed


def test_what_a_fit_lacks_is_reported_before_it_begins(data, tmp_path):
    prepare(read_dataset(data, NIH14), tmp_path / "cache", (32,), NIH14)
    for _ in range(2):  # a directory is not claimed before
        with pytest.raises(DataError, match=r"not of \[64\]; prepare another: --size 32 --size 64"):
            run.fit_run(tmp_path / "cache", tmp_path / "sizes", RECIPE)
    with pytest.raises(DataError, match="got 'image-net'"):
        run.fit_run(data, tmp_path / "initial", one_short_stage(initial="image-net"))


def test_a_fit_from_a_file_records_the_file_without_a_folder_of_this_machine(finished, data):
    recipe = one_short_stage(initial=str(finished / "model.keras"))
    recorded = provenance(split_images(read_dataset(data, NIH14), recipe.split), recipe, NIH14)
    assert recorded["recipe"]["initial"] == "model.keras"
    assert recorded["initial"]["training"] == json.loads((finished / "training.json").read_text())
    assert len(recorded["initial"]["sha256"]) == 64
    assert str(finished) not in json.dumps(recorded)


def test_a_finished_fit_by_a_recipe_without_a_later_key_is_not_repeated(finished, data, tmp_path):
    copy = Path(shutil.copytree(finished, tmp_path / "run"))
    claimed = json.loads((copy / "identity.json").read_text())
    del claimed["recipe"]["distillation"]
    (copy / "identity.json").write_text(json.dumps(claimed))
    before = (copy / "model.keras").stat().st_mtime_ns
    assert run.fit_run(data, copy, RECIPE, resume=True).stat().st_mtime_ns == before


def test_a_directory_with_files_of_another_origin_is_refused(data, tmp_path):
    (tmp_path / "training.json").write_text("{}")
    with pytest.raises(DataError, match=r"holds training\.json of another origin"):
        run.fit_run(data, tmp_path, RECIPE)


def test_a_fit_resumed_by_another_commit_records_both(tmp_path):
    recorded = {"images": 1, "commit": "a", "versions": {}}
    for commit in "abb":
        (tmp_path / "training.json").write_text(json.dumps(recorded))
        recorded = resumed_provenance(tmp_path, {**recorded, "commit": commit})
    assert (recorded["commit"], recorded["resumed_with"]) == ("a", [{"commit": "b", "versions": {}}])


def test_early_stopping_keeps_the_best_epoch(data_with_a_ruined_test_part, tmp_path):
    data = data_with_a_ruined_test_part
    recipe = msgspec.structs.replace(
        RECIPE,
        stages=(Stage(size=32, epochs=6, learning_rate=1e-3),),
        stopping=Stopping(keep="best", metric="auc", patience=2),
    )
    run.fit_run(data, tmp_path, recipe)
    aucs = [float(row["auc"]) for row in history_of(tmp_path)]
    best = int(np.argmax(aucs))
    assert len(aucs) == min(best + 1 + 2, 6)
    network = keras.models.load_model(tmp_path / "model.keras", compile=False)
    part = load_part(run.split_of(tmp_path, data)["validation"], 32, "validation", NIH14)
    p = predict_variants(network, part.images)[:, 0].astype(np.float64)
    loss = -(part.targets * np.log(p) + (1 - part.targets) * np.log(1 - p)).mean()
    by_epoch = np.array([float(row["val_loss"]) for row in history_of(tmp_path)])
    assert np.argmin(np.abs(by_epoch - loss)) == best
    assert by_epoch[best] == pytest.approx(loss, abs=1e-4), "rounding to half moves it a little"


def test_half_precision_is_for_gpus():
    import tensorflow as tf

    expected = "mixed_float16" if tf.config.list_physical_devices("GPU") else "float32"
    assert dtype_policy() == expected


def test_the_saved_model_is_compressed(finished, tmp_path):
    network = keras.models.load_model(finished / "model.keras", compile=False)
    plain = tmp_path / "plain.keras"
    network.save(plain)
    assert (finished / "model.keras").stat().st_size < plain.stat().st_size


def test_an_epoch_shows_the_same_images_again_for_the_same_seed(data):
    images = read_dataset(data, NIH14)
    part = load_part(images, 32, "all", NIH14)
    first, second = (Batches(part, RECIPE) for _ in range(2))
    second.begin(3)
    second.begin(0)
    for index in range(len(first)):
        for a, b in zip(first[index][0], second[index][0], strict=True):
            np.testing.assert_array_equal(a, b)
    second.begin(1)
    assert not np.array_equal(first.rows(0), second.rows(0))
