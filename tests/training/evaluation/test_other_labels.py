"""From a fit to a report and a card with other labels than NIH's: five, the normal one in the middle."""

import json

import msgspec
import pandas as pd
import pytest
from typer.testing import CliRunner

import cxr_edge
from cxr_edge.model.bundle import read_bundle
from export.__main__ import app as export_app
from export.decisions import calibrate_run
from export.gate import LIMITS, Runtime, answers, compare, over_limits
from tests.conftest import SAMPLES
from tests.training.conftest import FIVE, RECIPE, write_images
from training.data.nih import read_dataset
from training.errors import DataError
from training.evaluation.evaluate import Extras, evaluate, part_of_split, write_evaluation
from training.evaluation.resampling import Bootstrap
from training.fitting import run
from training.fitting.provenance import labels_of
from training.recipe import Stage

BOOTSTRAP = Bootstrap(resamples=20, jobs=1)


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return write_images(tmp_path_factory.mktemp("data") / "images", FIVE)


@pytest.fixture(scope="module")
def fitted(images, five_labels, tmp_path_factory):
    """A fit of one epoch, calibrated."""
    stages = (Stage(size=32, epochs=1, learning_rate=1e-3),)
    out = tmp_path_factory.mktemp("run")
    run.fit_run(images, out, msgspec.structs.replace(RECIPE, labels=str(five_labels), stages=stages))
    calibrate_run(out, images)
    return out


@pytest.fixture(scope="module")
def bundle(fitted, tmp_path_factory):
    out = tmp_path_factory.mktemp("out") / "bundle"
    done = CliRunner().invoke(export_app, [str(fitted / "model.keras"), "--out", str(out), "--name", "five"])
    assert done.exit_code == 0, done.output
    return out


@pytest.fixture(scope="module")
def report(bundle, images, tmp_path_factory):
    boxes = tmp_path_factory.mktemp("boxes") / "boxes.csv"
    read = read_bundle(bundle)
    table, held_out = part_of_split(read, read_dataset(images, FIVE), "test")
    rows = [f"{image},Line misplaced,200,200,600,600" for image in table["image"][:3]]
    boxes.write_text("\n".join(["image,finding,x,y,w,h", *rows]) + "\n")
    return evaluate(read, table, "test", held_out, Extras(boxes), BOOTSTRAP)


def test_a_fit_records_its_labels_and_no_folder_of_this_machine(fitted, five_labels):
    assert labels_of(fitted) == FIVE
    text = (fitted / "training.json").read_text()
    assert json.loads(text)["recipe"]["labels"] == "five.json"
    assert str(five_labels.parent) not in text


def test_a_run_that_does_not_record_its_labels_is_refused(fitted, tmp_path):
    recorded = json.loads((fitted / "training.json").read_text())
    del recorded["labels"]
    (tmp_path / "training.json").write_text(json.dumps(recorded))
    (tmp_path / "model.keras").touch()
    with pytest.raises(DataError, match="does not record the model's labels"):
        labels_of(tmp_path)


def test_the_bundle_is_of_these_labels(bundle, fitted):
    manifest = read_bundle(bundle).manifest
    decisions = json.loads((fitted / "decisions.json").read_text())
    assert manifest.labels == FIVE.records
    assert manifest.maps.grid == (1, 1)
    for name, point in manifest.operating_points.items():
        assert tuple(point.single.thresholds) == tuple(point.adaptive.margins) == FIVE.findings
        assert point.tta.thresholds == decisions["operating_points"][name]["tta"]["thresholds"]
    result = cxr_edge.load(bundle, device="cpu", threads=1).predict(SAMPLES[0], heatmaps=True)
    assert tuple(result.probabilities) == FIVE.names
    assert {label.name for label, _ in result.ranked()} == set(FIVE.findings)
    assert result.heatmap("Line misplaced").shape == result.size


def test_the_report_is_of_its_findings(report, tmp_path):
    write_evaluation(report, tmp_path)
    recorded = json.loads((tmp_path / "evaluation.json").read_text())
    findings = list(FIVE.findings)
    assert recorded["findings"] == findings
    for mode in ("single", "tta"):
        assert list(recorded["tta_modes"][mode]["findings"]) == findings
    for point in recorded["operating_points"].values():
        assert list(point["findings"]) == findings
    for found in recorded["adaptive"].values():
        assert 0 <= found["agreement"]["value"] <= 1
        assert 2 <= found["variants"]["value"] <= found["of"]
    assert set(recorded["localisation"]["findings"]) == {"Line misplaced"}
    assert "Normal" not in (tmp_path / "evaluation.md").read_text()


def test_the_card_names_them(report, bundle, tmp_path):
    files = []
    for part in ("validation", "test"):
        write_evaluation({**report, "part": part}, tmp_path / part)
        files += [f"--{part}", str(tmp_path / part / "evaluation.json")]
    done = CliRunner().invoke(export_app, ["card", str(bundle), *files])
    assert done.exit_code == 0, done.output
    card = read_bundle(bundle).files["MODEL_CARD.md"].decode()
    assert f"5 labels: {', '.join(FIVE.names)}" in " ".join(card.split())
    assert "| Line misplaced |" in card
    assert "images of an origin that is not recorded" in card
    assert "NIH" not in card


def test_the_gate_compares_two_runtimes(bundle):
    read = read_bundle(bundle)
    table = pd.DataFrame({"image": [path.name for path in SAMPLES[:3]], "path": SAMPLES[:3]})
    marks = {name: [1.0, 0.0, 1.0] for name in FIVE.names}
    one = answers(read, Runtime("cpu", "fp32"), table)
    assert one.maps.shape == (3, 5, 1, 1)
    figures = compare(read.manifest, one, one, table.assign(patient=range(3), **marks), BOOTSTRAP)
    assert figures["findings"] == 4
    assert not [what for what in over_limits(figures, LIMITS["fp32"]) if "maps" not in what]
