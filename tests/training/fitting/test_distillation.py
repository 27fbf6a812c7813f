"""A student's targets are its labels and its teachers' answers to exactly the images it sees."""

import json
import shutil
from pathlib import Path

import keras
import msgspec
import numpy as np
import pytest
from scipy.special import expit

from cxr_edge.model.preprocess import preprocess
from tests.training.conftest import NIH14, RECIPE
from training.data.images import load_part
from training.data.nih import read_dataset
from training.errors import DataError
from training.fitting import run
from training.fitting.batches import Batches
from training.fitting.distillation import Teachers
from training.network.architecture import LOGITS, at_size, build_network
from training.recipe import Distillation, Stage


@pytest.fixture
def teachers(finished, tmp_path):
    """A fitted network and a random one."""
    build_network(len(NIH14), 64).save(tmp_path / "other.keras")
    return str(finished / "model.keras"), str(tmp_path / "other.keras")


def test_teachers_answer_the_mean_of_their_logits_at_any_size(teachers, data):
    images = load_part(read_dataset(data, NIH14), 32, "all", NIH14).images[:5, ..., None].astype(np.float32)
    logits = [
        keras.Model(network.input, network.get_layer(LOGITS).output)(images)
        for network in (at_size(keras.models.load_model(file, compile=False), 32) for file in teachers)
    ]
    np.testing.assert_allclose(Teachers(teachers, len(NIH14), 32).logits(images), np.mean(logits, axis=0), atol=1e-5)
    np.testing.assert_allclose(Teachers(teachers[:1], len(NIH14), 32).logits(images), logits[0], atol=1e-5)


def test_targets_are_labels_and_answers_to_the_varied_images_under_the_prior(teachers, data):
    """The student's logits are the teachers' where the loss is least, whatever the prior."""
    part = load_part(read_dataset(data, NIH14), 32, "all", NIH14)
    recipe = msgspec.structs.replace(RECIPE, distillation=Distillation(teachers, weight=0.75))
    batches = Batches(part, recipe)
    (images, priors), targets = batches[2]
    assert np.abs(priors).max() > 0.1
    answer = expit(Teachers(teachers, len(NIH14), 32).logits(images) + priors)
    np.testing.assert_allclose(targets, 0.25 * part.targets[batches.rows(2)] + 0.75 * answer, atol=1e-5)


def test_teachers_of_another_size_answer_the_same_images_reduced(teachers, data):
    part = load_part(read_dataset(data, NIH14), 64, "all", NIH14)
    stages = (Stage(size=64, epochs=1, learning_rate=1e-3),)
    how = Distillation(teachers, weight=1.0, size=32)
    batches = Batches(part, msgspec.structs.replace(RECIPE, stages=stages, distillation=how))
    (images, priors), targets = batches[0]
    reduced = np.stack([preprocess(image[..., 0].astype(np.uint8), (32, 32)) for image in images])
    answer = Teachers(teachers, len(NIH14), 32).logits(reduced[..., None].astype(np.float32))
    np.testing.assert_allclose(targets, expit(answer + priors), atol=1e-5)


def test_a_student_records_its_teachers(teachers, data, tmp_path):
    stages = (Stage(size=32, epochs=1, learning_rate=1e-3),)
    recipe = msgspec.structs.replace(RECIPE, stages=stages, distillation=Distillation(teachers, weight=0.7))
    with pytest.warns(UserWarning, match=r"other\.keras does not record"):
        run.fit_run(data, tmp_path / "student", recipe)
    recorded = json.loads((tmp_path / "student" / "training.json").read_text())
    assert recorded["recipe"]["distillation"]["teachers"] == ["model.keras", "other.keras"]
    assert [teacher["training"] is None for teacher in recorded["teachers"]] == [False, True]
    missing = msgspec.structs.replace(recipe, distillation=Distillation((str(tmp_path / "gone.keras"),), weight=0.7))
    with pytest.raises(DataError, match=r"gone\.keras"):
        run.fit_run(data, tmp_path / "missing", missing)


def test_a_teacher_fitted_on_another_split_is_refused(finished, data, tmp_path):
    """It may have seen images that its student is validated or tested on."""
    folder = Path(shutil.copytree(finished, tmp_path / "teacher"))
    recorded = json.loads((folder / "training.json").read_text())
    recorded["part_sha256"]["train"] = "0" * 64
    (folder / "training.json").write_text(json.dumps(recorded))
    recipe = msgspec.structs.replace(RECIPE, distillation=Distillation((str(folder / "model.keras"),), weight=0.7))
    with pytest.raises(DataError, match="another split"):
        run.fit_run(data, tmp_path / "student", recipe)
    with pytest.raises(DataError, match="another split"):
        run.fit_run(data, tmp_path / "student", msgspec.structs.replace(RECIPE, initial=str(folder / "model.keras")))


def test_a_file_that_is_not_such_a_network_is_refused(data, tmp_path):
    keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)]).save(tmp_path / "small.keras")
    (tmp_path / "broken.keras").write_bytes(b"PK")
    for name in ("small", "broken"):
        with pytest.raises(DataError, match=name):
            Teachers([str(tmp_path / f"{name}.keras")], len(NIH14), 32)


def test_a_teacher_of_other_labels_is_refused(teachers):
    with pytest.raises(DataError, match=f"expected a network of 5 labels, got one of {len(NIH14)}"):
        Teachers(teachers, 5, 32)
