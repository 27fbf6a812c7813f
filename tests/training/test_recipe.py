"""The recipe file, and what the command line says of a wrong one."""

import subprocess
import sys

import pytest

from tests.conftest import ROOT
from training.errors import RecipeError
from training.recipe import DEFAULT, read_recipe


def test_the_default_recipe_reads():
    recipe = read_recipe(DEFAULT)
    assert recipe.stages[-1].size == 224


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("batch = 32", "batch = 'many'", "batch"),
        ("batch = 32", "", "batch"),
        ("batch = 32", "batch = 32\nbacth = 1", "bacth"),
        ("epochs = 10", "epochs = 0", "epochs of at least 2"),
        ("batch = 32", "batch = = 32", "recipe.toml"),
    ],
)
def test_a_wrong_recipe_is_named(tmp_path, old, new, message):
    path = tmp_path / "recipe.toml"
    path.write_text(DEFAULT.read_text().replace(old, new))
    with pytest.raises(RecipeError, match=message):
        read_recipe(path)


def test_the_command_line_tells_errors_in_one_line(tmp_path):
    command = [sys.executable, "-m", "training", "fit", str(tmp_path), "--out", str(tmp_path / "run")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 1
    assert "training: " in done.stderr
    assert "expected labels.csv" in done.stderr
    assert "Traceback" not in done.stderr
