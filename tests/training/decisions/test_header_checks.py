"""Header checks, fitted: limits keep the false alarms that were asked for, and ages leave out impossible ones."""

import json

import numpy as np
import pandas as pd
import pytest

import training.decisions.header_checks as fitting
from cxr_edge.model.bundle import read_bundle
from export.header_checks import add_checks
from tests.training.conftest import NIH14
from training.data.nih import read_dataset
from training.decisions.header_checks import FALSE_ALARMS, count_contradictions, fit_ages, fit_rule

IMAGES, CHANNELS = 2000, 20


def synthetic(seed: int, apart: float = 1.0) -> tuple[pd.Series, np.ndarray]:
    rng = np.random.default_rng(seed)
    stated = pd.Series(np.where(rng.random(IMAGES) < 0.3, "AP", "PA"))
    stated[rng.random(IMAGES) < 0.05] = None
    features = rng.normal(0, 1, (IMAGES, CHANNELS))
    features[:, :3] += apart * (stated == "AP").to_numpy()[:, None]
    return stated, features


@pytest.mark.parametrize("apart", [0.2, 1.0, 4.0])
def test_limits_keep_false_alarms_and_catch_what_can_be_told_apart(apart):
    stated, features = synthetic(0, apart)
    rule = fit_rule("view", stated, features, *synthetic(1, apart))
    stated, features = synthetic(2, apart)
    table = pd.DataFrame({"view": stated, "patient": np.arange(IMAGES)})
    counted = count_contradictions(rule, table, "view", features)
    assert counted["images"] == pytest.approx(0.95 * IMAGES, rel=0.02)
    assert counted["false_alarms"]["value"] < 2 * FALSE_ALARMS
    caught = counted["caught"]["value"]
    assert {0.2: 0.03 < caught < 0.2, 1.0: 0.2 < caught < 0.8, 4.0: caught > 0.98}[apart]


def test_impossible_ages_do_not_widen_the_range():
    ages = pd.DataFrame({"age": [*range(20, 80), 414, np.nan] * 10})
    found = fit_ages(ages)
    assert (found.least, found.most) == (20, 79)
    assert fit_ages(pd.DataFrame({"age": [np.nan, 414]})) is None


def test_the_checks_of_a_bundle_are_fitted_on_its_training_images(finished, data, tmp_path, monkeypatch):
    from export.decisions import calibrate_run
    from export.publish import Description, export
    from tests.conftest import SAMPLES

    monkeypatch.setattr(fitting, "LEAST_IMAGES", 2)
    decisions = json.loads(calibrate_run(finished, data).read_text())
    description = Description("small", "1", decisions, json.loads((finished / "training.json").read_text()), notes="")
    root = export(finished / "model.keras", description, SAMPLES[0].parent, tmp_path / "bundle")
    checks = add_checks(root, read_dataset(data, NIH14), look_at_test=False)
    assert set(checks.rules) == {"view", "sex"}
    assert read_bundle(root).manifest.header_checks == checks
    assert set(checks.view.figures) == {"validation"}
    assert set(checks.view.figures["validation"]) == {"all", "A", "B"}
    assert 20 <= checks.age.least < checks.age.most <= 80
    card = read_bundle(root).files["MODEL_CARD.md"].decode()
    assert "| view | validation | all |" in card
    assert f"outside {checks.age.least:g} to {checks.age.most:g} years" in card
