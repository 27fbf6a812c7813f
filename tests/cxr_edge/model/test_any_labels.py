"""Bundles of other labels and another input size, through every output: nothing is dropped, nothing assumed."""

import csv
import io
import json
import re
import threading
import time
from pathlib import Path

import cv2
import numpy as np
import pydicom
import pytest
from typer.testing import CliRunner

import cxr_edge
from benchmarks.dicom import dicom_files
from cxr_edge.cli import app
from cxr_edge.demo.answer import Upload, answer
from cxr_edge.model.bundle import read_bundle
from cxr_edge.model.labels import PRIVATE_SCHEME
from cxr_edge.node.config import Config, FolderDestination, Results
from cxr_edge.node.intake import Intake, IntakeOutcome
from cxr_edge.node.queue import Queue
from cxr_edge.node.work import Workers
from cxr_edge.outputs.overlays import BELOW
from tests.bundles import make_bundle, make_ensemble
from tests.conftest import SAMPLES

SHIPPED_NAMES = read_bundle().manifest.label_names
STUDY = {"StudyInstanceUID": "1.2.826.0.1.1", "SeriesInstanceUID": "1.2.826.0.1.2", "StudyDate": "20260101"}

#: A label without a standard code, and one of another name.
SIXTEEN = {name: {} for name in SHIPPED_NAMES} | {
    "Mass": {"name": "Lump"},
    "Mass+": {"name": "Tuberculosis", "code": None, "site": None, "display": {"en": "Tuberculosis"}},
}
FIVE = {name: {} for name in ("Mass", "Effusion", "No Finding", "Edema")} | {
    "Nodule": {"name": "Spot", "code": None, "display": {}}
}


@pytest.fixture(scope="module", params=["sixteen labels", "five labels at 160 pixels", "an ensemble of these"])
def bundle(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("bundle")
    if request.param.startswith("sixteen"):
        return make_bundle(folder / "cut", SIXTEEN)
    if request.param.startswith("five"):
        return make_bundle(folder / "cut", FIVE, size=160)
    plain = {name: {} for name in ("Mass", "Effusion", "No Finding", "Edema")}
    one, two = (
        make_bundle(folder / "one", SIXTEEN),
        make_bundle(folder / "two", plain | {"Mass": {"name": "Lump"}}, 160),
    )
    return make_ensemble(folder / "joined", {"whole": (one, 0.7), "small": (two, 0.3)})


@pytest.fixture(scope="module")
def cut(bundle):
    return cxr_edge.load(bundle, device="cpu", threads=1)


@pytest.fixture(scope="module")
def written(bundle, tmp_path_factory):
    """The outputs of `infer --report --dicom-out` on a DICOM image with a mass."""
    out = tmp_path_factory.mktemp("out")
    arguments = ["infer", dicom_files.CHEST, SAMPLES[1], "--bundle", bundle, "--out", out, "--cam", 99, "--report",
                 "--dicom-out", out / "dicom", "--dicom-overlays", 99, "--device", "cpu"]  # fmt: skip
    done = CliRunner().invoke(app, list(map(str, arguments)))
    assert done.exit_code == 0, done.output
    return out


def stored_by_the_node(model, folder: Path, data: bytes) -> dict[str, bytes]:
    """Return the files that the node's workers store for an image."""
    destination = FolderDestination(name="folder", folder=folder / "to")
    config = Config(data=folder, results=Results(overlays=99), destinations=(destination,))
    stored, results = folder / "images", folder / "results"
    stored.mkdir()
    results.mkdir()
    queue, changed = Queue(folder), threading.Condition()
    assert Intake(stored, queue, model.limits, changed=changed).take(data) is IntakeOutcome.QUEUED
    workers = Workers(model, config, queue, stored, results, changed, lambda _: None)
    workers.start(1)
    until = time.monotonic() + 60
    while queue.counts()["image-waiting"] and time.monotonic() < until:
        time.sleep(0.05)
    workers.stop()
    assert queue.counts()["image-done"] == 1, queue.entries()
    queue.close()
    return {path.name: path.read_bytes() for path in results.iterdir()}


def private(model):
    """Return the findings without a standard code."""
    return [label for label in model.labels if label.is_finding and label.code is None]


def test_the_probabilities_are_those_of_the_shipped_bundle(model, tmp_path):
    cut = cxr_edge.load(make_bundle(tmp_path / "cut", SIXTEEN), device="cpu", threads=1)
    whole, found = model.predict(SAMPLES[1]).probabilities, cut.predict(SAMPLES[1]).probabilities
    assert found.pop("Tuberculosis") == found["Lump"]
    assert found.pop("Lump") == pytest.approx(whole.pop("Mass"), abs=1e-6)
    assert found == pytest.approx(whole, abs=1e-6)


def test_every_label_is_in_the_record_and_the_table(cut, written):
    names = list(cut.manifest.label_names)
    for line in map(json.loads, (written / "predictions.jsonl").read_text().splitlines()):
        assert list(line["probabilities"]) == names
        assert all(finding["overlay_file"] for finding in line["findings"])
        assert all((written / finding["overlay_file"]).is_file() for finding in line["findings"])
    rows = list(csv.DictReader(io.StringIO((written / "predictions.csv").read_text())))
    assert all(float(row[name]) >= 0 for row in rows for name in names)
    drawn = {path.stem.rpartition("-")[2].removesuffix(BELOW) for path in (written / "heatmaps").iterdir()}
    assert drawn == {name.replace(" ", "_") for name in cut.manifest.finding_names}


def test_every_label_is_in_the_report(cut, written):
    page = (written / "report.html").read_text()
    grid = "x".join(map(str, cut.manifest.maps.grid))
    assert page.count(f'data-grid="{grid}"') == 2
    for label in cut.labels:
        shown = re.escape(label.name).replace("_", "_(?:<wbr>)?")
        assert len(re.findall(f'aria-pressed="false">{shown}</button>', page)) == 2, label.name


def test_every_finding_is_in_the_structured_report_with_its_code(cut, written):
    (path,) = (written / "dicom").glob("*-report.dcm")
    document = pydicom.dcmread(path)
    coded = {}
    for group in document.ContentSequence[-1].ContentSequence:
        by_name = {item.ConceptNameCodeSequence[0].CodeMeaning: item for item in group.ContentSequence}
        code = by_name["Finding"].ConceptCodeSequence[0]
        coded[code.CodingSchemeDesignator, code.CodeValue] = code.CodeMeaning
        assert float(by_name["Probability"].MeasuredValueSequence[0].NumericValue) >= 0
    expected = {
        (label.coded.scheme, label.coded.value): label.coded.meaning for label in cut.labels if label.is_finding
    }
    assert coded == expected
    assert private(cut)
    for label in private(cut):
        assert coded[PRIVATE_SCHEME, label.coded.value] == label.display_name()


def test_positive_findings_without_a_code_are_drawn_and_outlined(cut, written):
    result = cut.predict(dicom_files.CHEST, heatmaps=True)
    positive = [f.label for f in result.findings if f.positive and result.map_of(f.label).any()]
    captured = {path.stem.partition("-overlay-")[2] for path in (written / "dicom").glob("*-overlay-*.dcm")}
    assert captured == set(positive)
    if positive:
        (path,) = (written / "dicom").glob("*-outlines.dcm")
        layers = pydicom.dcmread(path).GraphicLayerSequence
        assert [layer.GraphicLayerDescription for layer in layers] == positive
    if "Tuberculosis" in cut.manifest.finding_names:
        assert {"Tuberculosis", "Lump"} <= captured


def test_every_label_is_in_the_demo(cut):
    page = answer(cut, Upload("image.png", SAMPLES[1].read_bytes()), "tta", "max_f1")
    for label in cut.labels:
        assert re.search(re.escape(label.name).replace("_", "_(?:<wbr>)?"), page), label.name


def test_every_label_is_in_what_the_node_stores(cut, tmp_path):
    data = dicom_files.written(dicom_files.image(cv2.imread(str(SAMPLES[1]), cv2.IMREAD_GRAYSCALE), **STUDY))
    stored = stored_by_the_node(cut, tmp_path, data)
    (line,) = [json.loads(content) for name, content in stored.items() if name.endswith(".json")]
    assert tuple(line["probabilities"]) == cut.manifest.label_names
    (report,) = [content for name, content in stored.items() if name.endswith("-report.dcm")]
    groups = pydicom.dcmread(io.BytesIO(report)).ContentSequence[-1].ContentSequence
    assert len(groups) == len(cut.manifest.finding_names)
    assert np.isfinite(list(line["probabilities"].values())).all()
