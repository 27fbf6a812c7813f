"""The learning curve: a known law is found again, its intervals hold it, and too few fits are refused."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from training.__main__ import app
from training.errors import DataError
from training.evaluation.learning_curve import at, extrapolate, read_fits

SIZES = (800, 1600, 3200, 6400, 12800)
LAW = np.array([0.80, 1.2, 0.35])


def write_table(path, *, sizes=SIZES, seeds=3, sd=0.004, seed=0):
    rng = np.random.default_rng(seed)
    variants = {}
    for images in sizes:
        aucs = at(LAW, images) + rng.normal(0, sd, seeds)
        variants[str(images)] = {"by_seed": [{"images": images - 3, "auc": a, "auc_within": a - 0.01} for a in aucs]}
    path.mkdir(exist_ok=True)
    (path / "ablation.json").write_text(json.dumps({"variants": variants}))
    return path / "ablation.json"


def test_a_law_without_noise_is_found_again(tmp_path):
    found = extrapolate(read_fits(write_table(tmp_path, sd=0)), (86_524,))["auc"]
    assert found["curve"]["c"] == pytest.approx(LAW[2], abs=0.01)
    assert found["predicted"]["86524"]["value"] == pytest.approx(at(LAW, 86_524), abs=5e-4)


def test_nearly_all_intervals_contain_what_more_images_give(tmp_path):
    inside = 0
    for seed in range(40):
        found = extrapolate(read_fits(write_table(tmp_path, seed=seed)), (86_524,), seed)
        low, high = found["auc"]["predicted"]["86524"]["interval"]
        inside += low <= at(LAW, 86_524) <= high
        assert high - low > 0.005
    assert inside >= 34


def test_the_command_writes_a_table_and_a_plot(tmp_path):
    write_table(tmp_path)
    result = CliRunner().invoke(app, ["learning-curve", str(tmp_path), "--to", "30000", "--to", "86524"])
    assert result.exit_code == 0, result.output
    assert (tmp_path / "learning_curve.md").read_text() == result.output.rstrip("\n") + "\n"
    assert "| 30,000 | extrapolated | 0." in result.output
    assert json.loads((tmp_path / "learning_curve.json").read_text())["auc_within"]["predicted"].keys() == {
        "30000",
        "86524",
    }
    assert (tmp_path / "learning_curve.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("table", "message"), [({"sizes": SIZES[:3]}, "4 numbers of training images"), ({"seeds": 1}, "two seeds or more")]
)
def test_too_few_fits_are_refused(tmp_path, table, message):
    with pytest.raises(DataError, match=message):
        extrapolate(read_fits(write_table(tmp_path, **table)), (86_524,))


def test_a_directory_without_an_ablation_is_refused_in_one_line(tmp_path):
    result = CliRunner().invoke(app, ["learning-curve", str(tmp_path)])
    assert result.exit_code == 1
    assert result.output.startswith("training: expected ablation.json")
