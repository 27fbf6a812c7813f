"""What a fit says before it begins, and what it refuses."""

import re
import subprocess
import sys

import msgspec
import pytest

from tests.conftest import ROOT
from tests.training.conftest import NIH14, RECIPE
from training.data.images import load_part
from training.data.nih import read_dataset
from training.data.prepare import prepare
from training.data.splits import split_images
from training.errors import FitError
from training.fitting.batches import Batches
from training.fitting.callbacks import TIMED, WARM_UP, Estimate
from training.fitting.plan import MOST_PIXELS_ON_CPU, describe_plan
from training.network.devices import choose_device, gpus
from training.recipe import Stage, change_recipe

no_gpu = pytest.mark.skipif(bool(gpus()), reason="this machine has a GPU")


@pytest.fixture(scope="module")
def parts(data):
    return split_images(read_dataset(data, NIH14), RECIPE.split)


@no_gpu
def test_device_precision_images_and_steps_are_said(parts):
    first, *stages = describe_plan(parts, change_recipe(RECIPE, ["optimizer.ema=0"]), NIH14, cpu_asked_for=False)
    assert re.fullmatch(r"Fitting on CPU, \d+ cores in float32, by \w+", first)
    steps = -(-len(parts["train"]) // 8)
    assert [f"stage {n}: {size} px, 2 epochs of about {steps} batches of 8" in line
            for (n, size), line in zip(((1, 32), (2, 64)), stages, strict=True)] == [True, True]  # fmt: skip
    assert "in memory" in stages[0]


def test_the_batches_are_those_of_the_sampling(data, tmp_path):
    """Small images that an epoch leaves out, and rare labels that it repeats, are counted as the fit draws them."""
    prepare(read_dataset(data, NIH14), tmp_path / "cache", (64,), NIH14)
    cached = split_images(read_dataset(tmp_path / "cache", NIH14), RECIPE.split)
    cached["train"].loc[8:, "side"] = 32
    for change, fewer in (("sampling.small_share=0.5", True), ("sampling.min_per_class=30", False)):
        recipe = change_recipe(RECIPE, ["stages=[{size=64,epochs=1,learning_rate=1e-3}]", change])
        batches = Batches(load_part(cached["train"], 64, "train", NIH14), recipe)
        assert (len(batches) < len(cached["train"]) / 8) == fewer
        assert f" {len(batches)} batches" in describe_plan(cached, recipe, NIH14, cpu_asked_for=True)[1]


def test_settings_without_effect_or_with_too_much_are_told(parts):
    """A folder does not record the sides of the images, and four steps leave most of a slow average as it began."""
    recipe = change_recipe(RECIPE, ["optimizer.ema=0.99", "sampling.small_share=0.5"])
    said = "\n".join(describe_plan(parts, recipe, NIH14, cpu_asked_for=True))
    steps = 2 * -(-len(parts["train"]) // RECIPE.batch)
    assert f"optimizer.ema=0.99 is slow for so few steps: {0.99**steps:.0%} of the averaged weights" in said
    assert "sampling.small_share has no effect" in said


def test_a_caches_images_are_not_counted_as_memory(data, tmp_path):
    prepare(read_dataset(data, NIH14), tmp_path / "cache", (32, 64), NIH14)
    cached = split_images(read_dataset(tmp_path / "cache", NIH14), RECIPE.split)
    assert "read from the cache" in describe_plan(cached, RECIPE, NIH14, cpu_asked_for=True)[1]


@no_gpu
def test_days_on_a_cpu_are_refused_unless_asked_for(parts):
    epochs = int(MOST_PIXELS_ON_CPU / len(parts["train"]) / 224**2) + 1
    long = msgspec.structs.replace(RECIPE, stages=(Stage(224, epochs, 1e-3),))
    with pytest.raises(FitError, match=r"expected a GPU for \d+ images .* --device cpu"):
        describe_plan(parts, long, NIH14, cpu_asked_for=False)
    assert describe_plan(parts, long, NIH14, cpu_asked_for=True)


@no_gpu
def test_a_gpu_that_is_not_there_is_refused():
    with pytest.raises(FitError, match="expected a GPU"):
        choose_device("gpu")


def test_the_time_to_go_counts_all_stages(capsys):
    stages = (Stage(64, 3, 1e-3), Stage(128, 2, 1e-3))
    estimate = Estimate(stages, epochs=1, images=(3_600_000, 900_000), batch=32)
    for batch in range(WARM_UP + TIMED + 5):
        estimate.on_train_batch_end(batch)
    (line,) = capsys.readouterr().out.splitlines()
    hours, rate = re.fullmatch(r"About ([\d.]+) h to go: (\d+) images/s at 64 px", line).groups()
    assert float(hours) == pytest.approx((3_600_000 * 2 + 900_000 * 2 * 4) / float(rate) / 3600, rel=0.1, abs=0.06)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["fit", "--set", "los=1"], "the recipe has no 'los'"),
        (["ablate", "--variants", "wrong.toml"], "the recipe has no 'los'"),
        (["ablate", "--recipe", "wrong.toml"], "wrong.toml"),
        (["prepare", "--size", "64", "--labels", "nih13"], "nih13"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_a_mistake_is_told_before_anything_heavy_is_imported(data, tmp_path, arguments, message):
    (tmp_path / "wrong.toml").write_text('seeds = [0]\ncommon = []\n[variants]\nplain = ["los=1"]\n')
    command, *options = (str(tmp_path / text) if text == "wrong.toml" else text for text in arguments)
    command = ["-X", "importtime", "-m", "training", command, str(data), "--out", str(tmp_path / "run"), *options]
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 1
    assert message in done.stderr
    imported = set(re.findall(r"\| +([\w.]+)$", done.stderr, re.MULTILINE))
    assert "training.recipe" in imported
    assert not imported & {"keras", "tensorflow", "jax", "pandas", "sklearn"}
