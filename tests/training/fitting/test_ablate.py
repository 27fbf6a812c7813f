"""An ablation: what each change gained, seed by seed; a variant that diverges costs itself alone."""

import json

import msgspec
import pytest

from tests.training.conftest import RECIPE
from training.ablation import Ablation
from training.fitting.ablate import ablate, write_table
from training.recipe import Stage

ABLATION = Ablation(
    seeds=(3,),
    common=("optimizer.schedule=constant",),
    variants={"plain": (), "wild": ("stages.0.learning_rate=1e30",)},
)


def test_finished_variants_are_compared_and_not_repeated(data, tmp_path, capsys):
    recipe = msgspec.structs.replace(RECIPE, batch=32, stages=(Stage(size=32, epochs=1, learning_rate=1e-3),))
    table = ablate(data, tmp_path, recipe, ABLATION)
    assert "wild-3 has no figures" in capsys.readouterr().out
    assert "| wild | 0 | – | – |" in (tmp_path / "ablation.md").read_text()
    plain, wild = table["variants"]["plain"], table["variants"]["wild"]
    assert (plain["seeds"], wild["seeds"]) == ([3], [])
    assert plain["gain"]["auc"] == {"mean": 0, "sd": None}
    assert (wild["auc"], wild["gain"]["auc_within"]) == (None, None)
    last = (tmp_path / "plain-3" / "history.csv").read_text().splitlines()[-1].split(",")
    assert plain["auc"]["mean"] == pytest.approx(float(last[4]))
    assert json.loads((tmp_path / "ablation.json").read_text()) == table
    fitted = (tmp_path / "plain-3" / "model.keras").stat().st_mtime_ns
    only_plain = msgspec.structs.replace(ABLATION, variants={"plain": ()})
    assert ablate(data, tmp_path, recipe, only_plain)["variants"]["plain"] == plain
    assert (tmp_path / "plain-3" / "model.keras").stat().st_mtime_ns == fitted


def test_spreads_and_gains_are_over_seeds(tmp_path):
    """Gains are taken seed by seed, so that what a seed does to both does not count."""
    for name, aucs in {"plain": (0.60, 0.70), "better": (0.62, 0.73)}.items():
        for seed, auc in enumerate(aucs):
            run = tmp_path / f"{name}-{seed}"
            run.mkdir()
            (run / "model.keras").touch()
            (run / "training.json").write_text('{"images": {"train": 800}}')
            (run / "history.csv").write_text(f"stage,epoch,auc,auc_within\n1,1,0.5,0.5\n1,2,{auc},0.5\n")
    ablation = Ablation(seeds=(0, 1, 2), common=(), variants={"plain": (), "better": ("seed=1",)})
    better = write_table(tmp_path, ablation)["variants"]["better"]
    assert better["seeds"] == [0, 1]
    assert better["gain"]["auc"] == {"mean": pytest.approx(0.025), "sd": pytest.approx(0.00707, abs=1e-4)}
    assert better["by_seed"][1] == {"images": 800, "auc": 0.73, "auc_within": 0.5}
    assert "| better | 2 | 0.675 ± 0.078 |" in (tmp_path / "ablation.md").read_text()
