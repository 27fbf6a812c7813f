"""Decisions of a bundle: fitted to what the SDK answers, on validation images or on a user's own."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from cxr_edge.model.bundle import read_bundle
from export import decisions
from export.__main__ import app as export_app
from export.decisions import calibrate_run
from export.recalibration import recalibrate
from tests.training.conftest import NIH14
from training.__main__ import app
from training.data.external import read_external
from training.data.nih import read_dataset
from training.decisions.decide import require_enough
from training.errors import DataError
from training.fitting import run
from training.labels import LabelSet


@pytest.fixture(scope="module")
def calibrated(finished, data, tmp_path_factory) -> Path:
    """A copy of the finished run with its decisions."""
    copy = Path(shutil.copytree(finished, tmp_path_factory.mktemp("run") / "small"))
    calibrate_run(copy, data)
    return copy


@pytest.fixture(scope="module")
def bundle(calibrated, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("out") / "bundle"
    done = CliRunner().invoke(export_app, [str(calibrated / "model.keras"), "--out", str(out)])
    assert done.exit_code == 0, done.output
    return out


@pytest.fixture(scope="module")
def own(finished, data, tmp_path_factory) -> tuple[Path, Path]:
    """The validation images as a user's own: a folder, and a table with a column for each label."""
    folder = tmp_path_factory.mktemp("own")
    images = run.split_of(finished, data)["validation"]
    for path in images["path"]:
        shutil.copy(path, folder / path.name)
    table = folder.parent / "own.csv"
    images[["image", "patient", *NIH14.names]].to_csv(table, index=False)
    return folder, table


def read_own(own: tuple[Path, Path], labels: LabelSet = NIH14) -> pd.DataFrame:
    table = read_external("csv", own[1], "ignore", labels)
    return table.assign(path=[own[0] / name for name in table["image"]])


def test_calibration_and_thresholds_come_from_validation(calibrated):
    decided = json.loads((calibrated / "decisions.json").read_text())
    assert list(decided["operating_points"]) == ["max_f1", "youden", "sensitivity_80", "screening"]
    for point in decided["operating_points"].values():
        for mode in ("single", "tta"):
            assert tuple(point[mode]["thresholds"]) == NIH14.findings
            assert "validation" in point[mode]["fitted_on"]
        assert tuple(point["adaptive"]["margins"]) == NIH14.findings
    assert decided["default_tta_mode"] in ("single", "tta")
    assert set(decided["figures"]["log_loss"]) == {"identity", "shared", "platt", "platt_ridge"}


def test_calibration_opens_no_test_image(finished, data, tmp_path):
    """The reference project stopped early and set its thresholds on its test part."""
    ruined = Path(shutil.copytree(data, tmp_path / "data"))
    images = read_dataset(ruined, NIH14)
    for path in images.loc[images["official"] == "test", "path"]:
        path.write_bytes(b"ruined")
    copy = Path(shutil.copytree(finished, tmp_path / "run"))
    assert calibrate_run(copy, ruined).exists()


def test_one_collection_alone_can_decide(finished, data, tmp_path, monkeypatch):
    with pytest.raises(DataError, match="expected at least 10 images with and 10 without one of the findings in A"):
        calibrate_run(finished, data, ["A"])
    monkeypatch.setattr("training.decisions.decide.LEAST_IMAGES", 4)
    copy = Path(shutil.copytree(finished, tmp_path / "run"))
    count = int((run.split_of(copy, data)["validation"]["collection"] == "A").sum())
    decided = json.loads(calibrate_run(copy, data, ["A"]).read_text())
    stated = decided["operating_points"]["max_f1"]["tta"]["fitted_on"]
    assert stated.startswith(f"{count} validation images of collection A of ")
    assert re.search(r"; .*, on fewer than 10 of them, by \d+ validation images of \d+ patients ", stated)
    with pytest.raises(DataError, match="no image is of collection Z; there are A, B"):
        calibrate_run(copy, data, ["A", "Z"])


def test_too_few_validation_images_are_reported_before_they_are_read(finished, data, monkeypatch):
    for later in ("load_network", "predict_images"):
        monkeypatch.setattr(decisions, later, None)
    images = read_dataset(data, NIH14)
    with pytest.raises(DataError, match="only one class of Infiltration"):
        require_enough(images.assign(Infiltration=0), NIH14)
    with pytest.raises(DataError, match="at least 5 patients, got 1"):
        require_enough(images.assign(patient=1), NIH14)
    parts = run.split_of(finished, data)
    lacking = {**parts, "validation": parts["validation"].assign(Infiltration=0)}
    monkeypatch.setattr(decisions, "split_of", lambda *_: lacking)
    with pytest.raises(DataError, match="only one class"):
        calibrate_run(finished, data)


def test_a_run_must_be_finished_and_its_images_the_same(finished, data, tmp_path):
    with pytest.raises(DataError, match="holds no finished fit"):
        calibrate_run(tmp_path, data)
    other = Path(shutil.copytree(data, tmp_path / "other"))
    (other / "0_0.png").unlink()
    with (
        pytest.warns(UserWarning, match="59 of"),
        pytest.raises(DataError, match=r"expected the .* images the model was fitted with"),
    ):
        calibrate_run(finished, other)


def test_the_same_images_decide_the_same_before_the_export_and_after(bundle, calibrated, own, tmp_path, monkeypatch):
    monkeypatch.setattr("training.decisions.decide.LEAST_IMAGES", 1)
    done = recalibrate(bundle, read_own(own), "own.csv", tmp_path / "anew", "2")
    assert (done.fitted, done.kept, done.left_out, done.lost) == (NIH14.names, (), {}, ())
    one, two = (read_bundle(path).manifest for path in (bundle, tmp_path / "anew"))
    assert (two.version, two.default_operating_point) == ("2", "max_f1")
    assert two.tta == one.tta
    for name, point in one.operating_points.items():
        for mode in ("single", "tta"):
            expected, found = one.thresholds(name, mode), two.thresholds(name, mode)
            assert found == pytest.approx(expected, abs=1e-6)
        assert two.operating_points[name].adaptive.margins == pytest.approx(point.adaptive.margins, abs=1e-5)
    assert two.files["model.onnx"] == one.files["model.onnx"], "the network is unchanged"


def test_labels_with_too_few_images_keep_their_decisions(bundle, own, tmp_path, monkeypatch):
    monkeypatch.setattr("training.decisions.decide.LEAST_IMAGES", 2)
    table = read_own(own)
    table["Mass"], table["Hernia"] = np.nan, 0.0
    table.loc[0, list(NIH14.names)] = np.nan
    done = recalibrate(bundle, table, "own.csv", tmp_path / "anew", None)
    assert {"Mass", "Hernia"} <= set(done.kept)
    assert list(done.left_out) == [table["image"][0]]
    assert done.lost == ()
    one, two = (read_bundle(path) for path in (bundle, tmp_path / "anew"))
    for mode in ("single", "tta"):
        old = one.manifest.curves(mode)
        for label in done.kept:
            found = two.manifest.curves(mode)[label]
            assert (found.slope, found.intercept) == (
                (1.0, 0.0) if old is None else (old[label].slope, old[label].intercept)
            )
        for label in set(done.kept) & set(NIH14.findings):
            assert two.manifest.thresholds("youden", mode)[label] == one.manifest.thresholds("youden", mode)[label]
    assert two.manifest.version == f"{one.manifest.version}-recalibrated"
    assert two.manifest.training["recalibrated"]["bundle_sha256"] == one.sha256
    assert f"fitted on {len(table) - 1} images" in " ".join(two.files["MODEL_CARD.md"].decode().split())


def test_each_label_is_decided_on_the_images_on_which_it_is_known(bundle, own, tmp_path, monkeypatch):
    """One finding was labelled on the first half of the images, all others on the second: no image has all labels."""
    monkeypatch.setattr("training.decisions.decide.LEAST_IMAGES", 2)
    table = read_own(own)
    half = len(table) // 2
    others = [name for name in NIH14.names if name != "Effusion"]
    table.loc[: half - 1, others] = np.nan
    table.loc[half:, "Effusion"] = np.nan
    table.loc[:3, "Effusion"] = [0, 1, 0, 1]
    done = recalibrate(bundle, table, "own.csv", tmp_path / "anew", None)
    assert "Effusion" in done.fitted
    assert len(done.fitted) > 1
    assert done.left_out == {}
    point = read_bundle(tmp_path / "anew").manifest.operating_points["youden"]
    assert f"Effusion on {half} of them" in point.tta.fitted_on
    assert set(point.tta.thresholds) == set(NIH14.findings)


def test_ten_images_are_ten_on_which_the_label_is_known(bundle, own, tmp_path):
    """Images without a label decide nothing on it, however many they are."""
    table = read_own(own)
    table[list(NIH14.findings)] = np.nan
    table["Effusion"] = [float(row % 2) if row < 18 else np.nan for row in range(len(table))]
    with pytest.raises(DataError, match=r"expected at least 10 images with .*Effusion 9"):
        recalibrate(bundle, table, "own.csv", tmp_path / "anew", None)


def test_images_that_decide_nothing_are_refused(bundle, own, tmp_path):
    table = read_own(own)
    table[list(NIH14.findings)] = 0.0
    with pytest.raises(DataError, match=r"expected at least 10 images with and 10 without one of the findings"):
        recalibrate(bundle, table, "own.csv", tmp_path / "anew", None)
    assert not (tmp_path / "anew").exists()


def test_the_command_line(bundle, own, tmp_path, monkeypatch):
    monkeypatch.setattr("training.decisions.decide.LEAST_IMAGES", 2)
    folder, table = own
    command = [
        "recalibrate",
        str(bundle),
        "--images",
        str(folder),
        "--labels",
        str(table),
        "--out",
        str(tmp_path / "b"),
    ]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    assert "Log loss" in done.output
    assert "own.csv" in read_bundle(tmp_path / "b").manifest.operating_points["screening"].tta.fitted_on
    (table.parent / "text.csv").write_text("image,Mass\na.png,often\n")
    done = CliRunner().invoke(app, [*command[:5], str(table.parent / "text.csv"), *command[6:]])
    assert done.exit_code == 1
    assert "expected labels of 1, 0, -1" in done.output
