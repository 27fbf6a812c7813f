"""Figures and intervals against scikit-learn and against what must hold."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import f1_score, precision_score, recall_score, roc_auc_score

from tests.training.conftest import NIH14
from training.evaluation.figures import at_thresholds, paired, ranking
from training.evaluation.reliability import expected_calibration_error, reliability
from training.evaluation.resampling import Bootstrap
from training.evaluation.subgroups import by_subgroup

BOOTSTRAP = Bootstrap(resamples=20, jobs=1)
FINDINGS = NIH14.findings
COUNT = len(FINDINGS)


def synthetic(images=200, seed=0):
    rng = np.random.default_rng(seed)
    truth = (rng.random((images, COUNT)) < 0.3).astype(float)
    scores = 1 / (1 + np.exp(-(2 * truth - 1.5 + rng.normal(0, 1, truth.shape))))
    table = pd.DataFrame(
        {
            "patient": np.arange(images),
            "collection": rng.choice(["A", "B"], images),
            "view": rng.choice(["AP", "PA"], images),
            "sex": rng.choice(["F", "M"], images),
            "age": rng.integers(0, 95, images),
            "markers_blacked": rng.random(images) < 0.3,
            "side": rng.choice([128, 512], images),
        }
    )
    return truth, scores, table


def test_ranking_matches_scikit_learn():
    truth, scores, table = synthetic()
    found = ranking(truth, scores, table, FINDINGS, BOOTSTRAP)
    aucs = [roc_auc_score(truth[:, i], scores[:, i]) for i in range(COUNT)]
    assert [found["findings"][label]["auc"]["value"] for label in FINDINGS] == pytest.approx(aucs, abs=1e-4)
    assert found["mean"]["auc"]["value"] == pytest.approx(np.mean(aucs), abs=1e-4)
    low, high = found["mean"]["auc"]["interval"]
    assert low < found["mean"]["auc"]["value"] < high


def test_rates_match_scikit_learn():
    truth, scores, table = synthetic()
    thresholds = dict.fromkeys(FINDINGS, 0.4)
    found = at_thresholds(truth, scores, thresholds, table, BOOTSTRAP)
    for i, label in enumerate(FINDINGS):
        called, row = scores[:, i] >= 0.4, found["findings"][label]
        for name, metric in (("precision", precision_score), ("recall", recall_score), ("f1", f1_score)):
            assert row[name]["value"] == pytest.approx(metric(truth[:, i], called), abs=1e-4)
        assert row["specificity"]["value"] == pytest.approx(recall_score(truth[:, i], called, pos_label=0), abs=1e-4)


def test_a_figure_without_a_denominator_is_none_and_left_out_of_the_mean():
    truth, scores, table = synthetic()
    truth[:, 2] = 0
    found = at_thresholds(truth, scores, dict.fromkeys(FINDINGS, 2.0), table, BOOTSTRAP)
    assert found["findings"]["Effusion"]["recall"] == {"value": None, "interval": None}
    assert found["findings"]["Mass"]["precision"]["value"] is None
    assert found["mean"]["recall"]["value"] == 0
    assert found["mean"]["specificity"]["value"] == 1


def test_a_finding_of_one_patient_has_no_interval_and_a_mean_without_it():
    """All resamples that hold it hold that one patient: an interval from them would be far too narrow."""
    truth, scores, table = synthetic()
    truth[:, 3] = 0
    truth[:4, 3] = 1
    table.loc[:3, "patient"] = 0
    found = ranking(truth, scores, table, FINDINGS, Bootstrap(200, jobs=1))
    rare = found["findings"][FINDINGS[3]]["auc"]
    assert rare["value"] is not None
    assert rare["interval"] is found["mean"]["auc"]["interval"] is None
    assert found["mean_frequent"]["findings"] == COUNT - 1
    others = [found["findings"][label]["auc"]["value"] for label in FINDINGS if label != FINDINGS[3]]
    assert found["mean_frequent"]["auc"]["value"] == pytest.approx(np.mean(others), abs=1e-4)
    assert found["mean_frequent"]["auc"]["interval"]
    compared = paired(truth, (scores, scores + 0.1), table, FINDINGS, BOOTSTRAP)
    assert compared["mean"]["difference"]["interval"] is None
    assert compared["mean_frequent"]["difference"]["value"] == 0
    assert compared["mean_frequent"]["difference"]["interval"] == [0, 0]


def mean_of(values):
    return lambda rows: values[rows].mean(keepdims=True)


def test_images_of_one_patient_are_drawn_together():
    """Repeating every image ten times adds no patient, so it must not narrow the interval."""
    values = np.random.default_rng(0).normal(size=100)
    (once,) = Bootstrap(1000, jobs=1).figures(mean_of(values), np.arange(100))
    (repeated,) = Bootstrap(1000, jobs=1).figures(mean_of(np.repeat(values, 10)), np.repeat(np.arange(100), 10))
    assert repeated["interval"] == pytest.approx(once["interval"], abs=0.03)
    (apart,) = Bootstrap(1000, jobs=1).figures(mean_of(np.repeat(values, 10)), np.arange(1000))
    assert np.ptp(apart["interval"]) < 0.5 * np.ptp(once["interval"])


def test_the_interval_covers_the_true_value_as_often_as_stated():
    """Of 200 samples, the interval must hold the true mean about 190 times."""
    covered = 0
    for seed in range(200):
        values = np.random.default_rng(seed).normal(size=150)
        (found,) = Bootstrap(200, jobs=1).figures(mean_of(values), np.arange(150))
        covered += found["interval"][0] <= 0 <= found["interval"][1]
    assert 180 <= covered <= 198


def test_paired_differences_are_narrower_than_the_difference_of_intervals():
    truth, scores, table = synthetic()
    slightly_worse = np.clip(scores + np.random.default_rng(1).normal(0, 0.03, scores.shape), 0, 1)
    found = paired(truth, (scores, slightly_worse), table, FINDINGS, BOOTSTRAP)["mean"]
    width = np.ptp(found["difference"]["interval"])
    assert width < 0.7 * np.ptp(found["first"]["interval"])
    assert found["difference"]["value"] == pytest.approx(found["second"]["value"] - found["first"]["value"], abs=2e-4)


def test_models_are_compared_within_collections_too():
    """A second model that only tells collections apart gains where they are pooled, and loses nothing within them."""
    truth, scores, table = synthetic()
    by_collection = (table["collection"] == "A").to_numpy()[:, None] * 1.0
    found = paired(truth, (scores, scores + by_collection), table, FINDINGS, BOOTSTRAP)
    assert found["mean_within"]["difference"] == {"value": 0.0, "interval": [0.0, 0.0]}
    assert found["mean"]["difference"]["value"] != 0
    assert found["mean_within"]["second"] == ranking(truth, scores, table, FINDINGS, BOOTSTRAP)["mean"]["auc_within"]


def test_more_processes_give_the_same_figures():
    truth, scores, table = synthetic(60)
    one, two = (ranking(truth, scores, table, FINDINGS, Bootstrap(10, jobs=jobs)) for jobs in (1, 2))
    assert one == two


def test_subgroups_are_measured_on_their_own_images():
    truth, scores, table = synthetic()
    found = by_subgroup(truth, scores, table, FINDINGS, BOOTSTRAP)
    assert set(found) == {"view", "sex", "age", "collection", "side", "markers"}
    assert set(found["side"]) == {"128 pixels", "512 pixels"}
    chosen = (table["view"] == "AP").to_numpy()
    expected = roc_auc_score(truth[chosen, 0], scores[chosen, 0])
    assert found["view"]["AP"]["findings"]["Atelectasis"]["value"] == pytest.approx(expected, abs=1e-4)
    assert sum(group["images"] for group in found["age"].values()) == len(table)
    assert set(found["age"]) == {"0 to 17", "18 to 39", "40 to 59", "60 to 79", "80 and over"}


def test_reliability_of_true_and_of_bent_probabilities():
    rng = np.random.default_rng(0)
    p = rng.random((5000, COUNT))
    truth = (rng.random(p.shape) < p).astype(float)
    true = reliability(truth, p, np.arange(5000), FINDINGS, Bootstrap(20, jobs=1))
    bent = reliability(truth, p**3, np.arange(5000), FINDINGS, Bootstrap(20, jobs=1))
    assert true["mean"]["ece"]["value"] < 0.03 < bent["mean"]["ece"]["value"]
    assert true["mean"]["brier"]["value"] < bent["mean"]["brier"]["value"]
    assert sum(b["predictions"] for b in true["bins"]) == 5000 * COUNT


def test_the_interval_of_a_calibration_error_holds_it():
    """A resample of well calibrated images looks worse calibrated than the images themselves."""
    rng = np.random.default_rng(0)
    p = rng.random((200, COUNT))
    truth = (rng.random(p.shape) < p).astype(float)
    found = reliability(truth, p, np.arange(200), FINDINGS, Bootstrap(100, jobs=1))
    for figures in (found["mean"], *found["findings"].values()):
        low, high = figures["ece"]["interval"]
        assert low <= figures["ece"]["value"] <= high


def test_calibration_error_by_hand():
    truth = np.array([0, 0, 1, 1, 1])
    scores = np.array([0.05, 0.05, 0.05, 0.95, 1.0])
    assert expected_calibration_error(truth, scores) == pytest.approx((3 * abs(0.05 - 1 / 3) + 2 * abs(0.975 - 1)) / 5)


def test_means_of_resamples_are_over_the_findings_of_all_images_or_none():
    """A resample without Hernia would average easier findings; its mean is not a draw of the same figure."""
    truth, scores, table = synthetic()
    for row, label in enumerate(("Hernia", "Mass")):  # both in 40 % of the resamples
        truth[:, FINDINGS.index(label)] = 0
        truth[row, FINDINGS.index(label)] = 1
    found = ranking(truth, scores, table, FINDINGS, Bootstrap(200, jobs=1))
    assert found["mean"]["auc"]["value"] is not None
    assert found["mean"]["auc"]["interval"] is None
    assert found["findings"]["Hernia"]["auc"]["interval"] is None
    assert found["mean_frequent"]["auc"]["interval"] is not None
