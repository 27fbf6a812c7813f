"""The recipe files, single changes, and the command line's messages about a wrong one."""

import re
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from tests.conftest import ROOT
from training.__main__ import app
from training.ablation import read_ablation
from training.errors import RecipeError
from training.recipe import DEFAULT, EXPERIMENTS, RECIPES, change_recipe, read_recipe


@pytest.mark.parametrize("name", ["reference", "best", "plain", "student"])
def test_the_recipes_read(name):
    assert read_recipe(RECIPES / f"{name}.toml").stages[-1].size == 224


def test_the_reference_recipe_is_the_designs():
    recipe = read_recipe(RECIPES / "reference.toml")
    assert recipe.split.scheme == "random-80-20"
    assert recipe.sampling.min_per_class == 2000
    assert (recipe.loss.name, recipe.loss.alpha, recipe.loss.gamma, recipe.loss.class_weights) == (
        "focal", 0.25, 2.0, True,
    )  # fmt: skip
    augmentation = recipe.augmentation
    assert (augmentation.flip, augmentation.rotation, augmentation.zoom, augmentation.brightness) == (0.5, 10, 0.1, 0.1)
    assert (recipe.optimizer.name, recipe.stages[0].learning_rate, recipe.batch) == ("adam", 1e-4, 32)
    assert (recipe.stages[0].epochs, recipe.stopping.keep, recipe.stopping.metric) == (50, "best", "auc")
    assert recipe.stopping.patience > 0


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("batch = 32", "batch = 'many'", "batch"),
        ("batch = 32", "batch = 32\nbacth = 1", "bacth"),
        ("batch = 32", "batch = 32\nseed = -1", "seed"),
        ('initial = "lite0"', "", "initial"),
        ("epochs = 10", "epochs = 0", "epochs"),
        ("rotation = 10", "rotation = -1", "rotation"),
        ('scheme = "official"', 'scheme = "file"', "expected `file`"),
        ('name = "adamw"', 'name = "adam"', "weight_decay of 0 with adam"),
        ("batch = 32", "batch = = 32", "recipe.toml"),
    ],
)
def test_a_wrong_recipe_is_named(tmp_path, old, new, message):
    path = tmp_path / "recipe.toml"
    text = (RECIPES / "plain.toml").read_text()
    assert old in text
    path.write_text(text.replace("\nseed = 0", "", 1).replace(old, new))
    with pytest.raises(RecipeError, match=message):
        read_recipe(path)


@pytest.mark.parametrize("file", ["docs/training.md", "training/recipes/best.toml", "training/recipes/student.toml"])
def test_a_documented_cache_has_the_sizes_of_the_recipe_that_is_fitted_from_it(file):
    """A cache cannot gain a size later: all of NIH would be decoded once more."""
    lines = (ROOT / file).read_text().splitlines()
    prepared = [line for line in lines if "python -m training prepare" in line and "trial" not in line]
    assert prepared
    wanted = {stage.size for stage in read_recipe(DEFAULT).stages}
    for line in prepared:
        assert {int(size) for size in re.findall(r"--size (\d+)", line)} == wanted, line


def test_single_keys_can_be_changed():
    recipe = change_recipe(
        read_recipe(RECIPES / "plain.toml"),
        ["loss.name=focal", "stages.0.epochs=3", "stages.0.learning_rate=2e-3", "split.validation_collections=['A']"],
    )
    assert recipe.loss.name == "focal"
    assert (recipe.stages[0].epochs, recipe.stages[0].learning_rate) == (3, 2e-3)
    assert recipe.split.validation_collections == ("A",)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("batch", "KEY=VALUE"),
        ("bacth=3", "no 'bacth'"),
        ("stages.4.size=3", "no '4'"),
        ("loss.name=magic", "magic"),
        ("loss.name.x=1", "no 'x'"),
    ],
)
def test_a_wrong_change_is_named(change, message):
    with pytest.raises(RecipeError, match=message):
        change_recipe(read_recipe(DEFAULT), [change])


@pytest.mark.parametrize("name", ["ablation", "learning_curve"])
def test_every_variant_of_an_experiment_is_a_recipe(name):
    ablation = read_ablation(EXPERIMENTS / f"{name}.toml")
    plain = read_recipe(RECIPES / "plain.toml")
    recipes = [
        change_recipe(plain, [change.replace("{seed}", "1") for change in (*ablation.common, *changes)])
        for changes in ablation.variants.values()
    ]
    assert len(set(map(repr, recipes))) == len(recipes) >= 5


def test_the_command_line_reports_errors_in_one_line(tmp_path):
    command = [sys.executable, "-m", "training", "fit", str(tmp_path), "--out", str(tmp_path / "run")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 1
    assert "training: " in done.stderr
    assert "expected labels.csv" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("command", "where", "message"),
    [("fit", "training.fitting.run.fit_run", "--resume"), ("prepare", "training.data.prepare.prepare", "same command")],
)
def test_an_interruption_prints_how_to_continue(data, tmp_path, monkeypatch, command, where, message):
    def interrupted(*_args, **_options):
        raise KeyboardInterrupt

    monkeypatch.setattr(where, interrupted)
    arguments = [command, str(data), "--out", str(tmp_path / "out"), *(["--size", "32"] * (command == "prepare"))]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 130
    assert message in done.output


@pytest.mark.parametrize(
    ("change", "message"),
    [("loss.nam=focal", "there are name, alpha"), ("stages.7={}", "it is a list of 3"), ("batch.x=1", "single value")],
)
def test_a_wrong_key_is_answered_with_those_there_are(change, message):
    with pytest.raises(RecipeError, match=message):
        change_recipe(read_recipe(DEFAULT), [change])


def test_a_place_of_a_list_can_be_set_whole():
    changed = change_recipe(read_recipe(DEFAULT), ["stages.0={size=64,epochs=1,learning_rate=1e-3}"])
    assert changed.stages[0].size == 64
