"""A classifier from elsewhere goes where the shipped one goes: report, DICOM results, node, demo, bench, gates."""

import io
import json

import cv2
import onnx
import pydicom
import pytest
from typer.testing import CliRunner

import cxr_edge
from benchmarks.dicom import dicom_files
from cxr_edge.cli import app as sdk
from cxr_edge.demo.answer import Upload, answer
from export.__main__ import app
from tests.conftest import SAMPLES
from tests.cxr_edge.model.test_any_labels import STUDY, stored_by_the_node
from tests.export.importing.classifiers import Kind, classifier

LABELS = ("Effusion", "Scoliosis", "Normal", "Tuberculosis")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    folder = tmp_path_factory.mktemp("elsewhere")
    onnx.save(classifier(Kind(layout="NHWC")), folder / "theirs.onnx")
    command = ["import", "onnx", str(folder / "theirs.onnx"), "--labels", ",".join(LABELS), "--normal", "Normal",
               "--range", "0,1", "--fit", "crop", "--out", str(folder / "bundle")]  # fmt: skip
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    return folder / "bundle"


@pytest.fixture(scope="module")
def model(bundle):
    return cxr_edge.load(bundle, device="cpu", threads=1)


def test_a_directory_with_a_report_and_dicom_results(bundle, tmp_path):
    command = [
        "infer",
        str(dicom_files.CHEST),
        str(SAMPLES[1]),
        "--bundle",
        str(bundle),
        "--out",
        str(tmp_path / "out"),
        "--cam",
        "2",
        "--report",
        "--dicom-out",
        str(tmp_path / "dicom"),
        "--device",
        "cpu",
    ]
    done = CliRunner().invoke(sdk, command)
    assert done.exit_code == 0, done.output
    lines = [json.loads(line) for line in (tmp_path / "out" / "predictions.jsonl").read_text().splitlines()]
    assert [tuple(line["probabilities"]) for line in lines] == [LABELS] * 2
    assert all((tmp_path / "out" / f["overlay_file"]).is_file() for f in lines[1]["findings"][:2])
    page = (tmp_path / "out" / "report.html").read_text()
    assert "Scoliosis" in page
    assert "LayerCAM" in page
    (report,) = (tmp_path / "dicom").glob("*-report.dcm")
    assert len(pydicom.dcmread(report).ContentSequence[-1].ContentSequence) == len(LABELS) - 1


def test_the_node(model, tmp_path):
    data = dicom_files.written(dicom_files.image(cv2.imread(str(SAMPLES[1]), cv2.IMREAD_GRAYSCALE), **STUDY))
    stored = stored_by_the_node(model, tmp_path, data)
    (report,) = [content for name, content in stored.items() if name.endswith("-report.dcm")]
    assert len(pydicom.dcmread(io.BytesIO(report)).ContentSequence[-1].ContentSequence) == len(LABELS) - 1


def test_the_demo(model):
    page = answer(model, Upload("image.png", SAMPLES[1].read_bytes()), "single", "imported")
    assert all(label in page for label in LABELS)


def test_the_benchmark_and_the_comparison_of_runtimes(bundle):
    done = CliRunner().invoke(sdk, ["bench", "--bundle", str(bundle), "--seconds", "1", "--json"])
    assert done.exit_code == 0, done.output
    found = json.loads(done.output[done.output.index("{") :])
    assert set(found["images_per_second"]) == {"one variant"}, "the bundle has no other"
    verify = ["verify", str(bundle), "--candidate", "cpu:fp32"]
    done = CliRunner().invoke(app, verify)
    assert done.exit_code == 0, done.output


def test_tensorrt_takes_all_of_it(bundle):
    files = sorted(bundle.glob("*.onnx"))
    done = CliRunner().invoke(sdk, ["engine", "check", *map(str, files)])
    assert done.exit_code == 0, done.output
    assert done.output.count("all nodes accepted") == len(files) == 2


def test_without_heat_maps_all_but_maps_works(tmp_path):
    onnx.save(classifier(Kind(positions=False)), tmp_path / "theirs.onnx")
    out = tmp_path / "bundle"
    command = ["import", "onnx", str(tmp_path / "theirs.onnx"), "--labels", ",".join(LABELS), "--normal", "Normal"]
    done = CliRunner().invoke(app, [*command, "--range", "0,1", "--out", str(out)])
    assert done.exit_code == 0, done.output
    done = CliRunner().invoke(sdk, ["bench", "--bundle", str(out), "--seconds", "0.2", "--device", "cpu"])
    assert done.exit_code == 0, done.output
    printed = " ".join(done.output.split())
    assert "the bundle has no heat maps" in printed
    assert "all variants" not in printed
    assert "--adaptive" not in printed
    command = ["infer", str(dicom_files.CHEST), "--bundle", str(out), "--out", str(tmp_path / "results"), "--report",
               "--dicom-out", str(tmp_path / "dicom"), "--device", "cpu"]  # fmt: skip
    done = CliRunner().invoke(sdk, command)
    assert done.exit_code == 0, done.output
    page = (tmp_path / "results" / "report.html").read_text()
    assert "The model has no heat maps." in page
    assert "<button" not in page[page.index("<article") : page.index("</article>")]
    assert [path.name.rpartition("-")[2] for path in (tmp_path / "dicom").iterdir()] == ["report.dcm"]
    done = CliRunner().invoke(sdk, [*command, "--dicom-overlays", "1"])
    assert done.exit_code == 2
    assert "has no heat maps (no tensor with positions" in " ".join(done.output.split())
    model = cxr_edge.load(out, device="cpu", threads=1)
    assert "max Δp to the model as it came" in model.provenance(model.settings()).gate
    assert "The model has no heat maps." in answer(
        model, Upload("image.png", SAMPLES[1].read_bytes()), "single", "imported"
    )
