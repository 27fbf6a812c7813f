"""ONNX classifiers of every kind become bundles that answer as they did; what cannot be told is asked for."""

import json
import subprocess
import sys

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto
from typer.testing import CliRunner

import cxr_edge
from cxr_edge.cli import app as sdk
from cxr_edge.errors import HeatmapUnavailable
from cxr_edge.images import read_image
from cxr_edge.model.bundle import read_bundle
from cxr_edge.model.preprocess import preprocess
from export.__main__ import app
from tests.conftest import ROOT, SAMPLES
from tests.export.importing.classifiers import Kind, classifier

NAMES = ("Effusion", "Mass", "No Finding", "Tuberculosis")

KINDS = {
    "channels first, float": Kind(),
    "channels last, float": Kind(layout="NHWC"),
    "grey, channels first": Kind(channels=1),
    "grey, no channels": Kind(layout="NHW", channels=1),
    "bytes, channels last": Kind(layout="NHWC", element=TensorProto.UINT8),
    "half precision": Kind(element=TensorProto.FLOAT16),
    "half precision throughout": Kind(element=TensorProto.FLOAT16, half=True),
    "one image at a time": Kind(batch=1),
    "logits": Kind(end="logits"),
    "exclusive classes": Kind(end="Softmax"),
    "exclusive classes, certain": Kind(end="Softmax", spread=40),
    "opset 11": Kind(opset=11),
    "opset 12, channels last": Kind(layout="NHWC", opset=12, end="Softmax"),
    "opset 18": Kind(opset=18, end="Softmax"),
    "a function of its own": Kind(function=True),
}


def imported(tmp_path, kind, *options, labels=None):
    """Import a classifier by the command; return the outcome and the bundle."""
    file, out = tmp_path / "model.onnx", tmp_path / "bundle"
    onnx.save(classifier(kind), file)
    takes = [] if kind.element == TensorProto.UINT8 or "--range" in options else ["--range", "0,1"]
    command = ["import", "onnx", str(file), "--labels", labels or ",".join(NAMES), "--out", str(out), *takes, *options]
    return CliRunner().invoke(app, command), out


def answers(kind, pixels, mean=0.0, deviation=1.0):
    """Return what ONNX Runtime answers to one image, fed as its authors would."""
    shown = preprocess(pixels, (kind.side, kind.side))
    values = shown if kind.element == TensorProto.UINT8 else (shown / 255 - mean) / deviation
    axis = {"NCHW": 0, "NHWC": 2, "NHW": None}[kind.layout]
    fed = values if axis is None else np.stack([values] * kind.channels, axis=axis)
    dtype = onnx.helper.tensor_dtype_to_np_dtype(kind.element)
    session = onnxruntime.InferenceSession(classifier(kind).SerializeToString())
    (found,) = session.run(None, {"pixels": fed[np.newaxis].astype(dtype)})
    return 1 / (1 + np.exp(-found[0])) if kind.end == "logits" else found[0]


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_a_bundle_answers_as_the_file_did(kind, tmp_path):
    done, out = imported(tmp_path, kind, "--normal", "No Finding")
    assert done.exit_code == 0, done.output
    model = cxr_edge.load(out, device="cpu", threads=1)
    assert [label.name for label in model.labels if not label.is_finding] == ["No Finding"]
    for path in SAMPLES[:3]:
        result = model.predict(path, heatmaps=True)
        np.testing.assert_allclose(result.values, answers(kind, read_image(path).pixels), atol=2e-3 if
                                   kind.element == TensorProto.FLOAT16 else 1e-5)  # fmt: skip
        assert result.heatmap("Mass").shape == result.size
    manifest = read_bundle(out).manifest
    assert (manifest.maps.method, manifest.maps.grid) == ("layercam", (8, 8))
    assert manifest.labels[0].code is not None, "a label of NIH's name has its code"
    assert manifest.training["imported"]["sha256"]
    card = read_bundle(out).files["MODEL_CARD.md"].decode()
    assert "What is not known here" in card
    assert "ChestX-ray" not in card


@pytest.mark.parametrize("kind", [Kind(end="Mean"), Kind(end="Clip", spread=0.01)])
def test_probabilities_are_what_the_user_says_they_are(kind, tmp_path):
    """A sum at the end may be of a bias, or a mean of two answers: the graph does not tell."""
    done, out = imported(tmp_path, kind, "--ends", "probabilities")
    assert done.exit_code == 0, done.output
    model = cxr_edge.load(out, device="cpu", threads=1)
    for path in SAMPLES[:2]:
        np.testing.assert_allclose(model.predict(path).values, answers(kind, read_image(path).pixels), atol=1e-5)


def test_logits_of_labels_that_exclude_each_other(tmp_path):
    """Their softmax stood in the training program: no operator of the file tells."""
    done, out = imported(tmp_path, Kind(end="logits"), "--ends", "softmax")
    assert done.exit_code == 0, done.output
    assert "labels that exclude each other, by softmax" in done.output
    found = cxr_edge.load(out, device="cpu", threads=1).predict(SAMPLES[0]).values
    expected = answers(Kind(end="Softmax"), read_image(SAMPLES[0]).pixels)
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_the_command_says_how_it_read_the_file(tmp_path):
    done, out = imported(tmp_path, Kind(end="logits"), "--mean", "0.5", "--std", "0.25")
    assert "Input: 'pixels', 64x64 pixels, RGB (NCHW), float32, black -2, white 2" in done.output
    assert "Output: 'answer', logits, to which a sigmoid is added" in done.output
    assert "'No Finding' is taken for a finding" in done.output
    assert read_bundle(out).manifest.training["imported"]["output"].startswith("'answer', logits")


def test_a_range_that_blinds_the_network_is_told(tmp_path):
    done, _ = imported(tmp_path, Kind(spread=40), "--range", "0,255", "--mean", "0.485", "--std", "1e-4")
    assert done.exit_code == 0, done.output
    assert "the same probability for all 8 images; do --range, --mean and --std say" in " ".join(done.output.split())


def test_the_most_certain_finding_has_a_map(tmp_path):
    """Rounded to 1, a probability has no gradient; its log-odds have."""
    kind = Kind(end="Softmax", spread=300)
    done, out = imported(tmp_path, kind)
    assert done.exit_code == 0, done.output
    result = cxr_edge.load(out, device="cpu", threads=1).predict(SAMPLES[0], heatmaps=True)
    strongest = max(result.probabilities, key=result.probabilities.__getitem__)
    assert result.probabilities[strongest] > 0.9999
    assert result.map_of(strongest).any()


def test_weights_beside_the_file_are_hashed_too(tmp_path):
    """Two models of one architecture may differ in these alone."""
    recorded = []
    for spread in (0.3, 0.4):
        folder = tmp_path / str(spread)
        folder.mkdir()
        onnx.save(classifier(Kind(spread=spread)), folder / "model.onnx", save_as_external_data=True,
                  location="weights.bin", size_threshold=0)  # fmt: skip
        command = ["import", "onnx", str(folder / "model.onnx"), "--labels", ",".join(NAMES), "--range", "0,1", "--out",
                   str(folder / "bundle")]  # fmt: skip
        done = CliRunner().invoke(app, command)
        assert done.exit_code == 0, done.output
        recorded.append(read_bundle(folder / "bundle").manifest.training["imported"]["weights_sha256"])
    assert all(text.startswith("weights.bin: ") for text in recorded)
    assert recorded[0] != recorded[1]
    (tmp_path / "0.3" / "weights.bin").unlink()
    done = CliRunner().invoke(app, [*command[:2], str(tmp_path / "0.3" / "model.onnx"), *command[3:]])
    assert done.exit_code == 1
    assert "weights.bin cannot be read" in " ".join(done.output.split())


def test_mean_and_deviation_are_in_the_graph(tmp_path):
    done, out = imported(tmp_path, Kind(), "--mean", "0.485,0.456,0.406", "--std", "0.229,0.224,0.225")
    assert done.exit_code == 0, done.output
    by_channel = [np.array(values) for values in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))]
    shown = preprocess(read_image(SAMPLES[0]).pixels, (64, 64)) / 255
    fed = np.stack([(shown - mean) / deviation for mean, deviation in zip(*by_channel, strict=True)])
    session = onnxruntime.InferenceSession(classifier(Kind()).SerializeToString())
    (expected,) = session.run(None, {"pixels": fed[np.newaxis].astype(np.float32)})
    found = cxr_edge.load(out, device="cpu", threads=1).predict(SAMPLES[0])
    np.testing.assert_allclose(found.values, expected[0], atol=1e-5)


def test_outputs_without_a_name_are_left_out_and_thresholds_are_those_of_the_table(tmp_path):
    (tmp_path / "t.csv").write_text("label,threshold\nEffusion,0.25\n")
    done, out = imported(tmp_path, Kind(), "--thresholds", str(tmp_path / "t.csv"), labels="Effusion,,,Scoliosis")
    assert done.exit_code == 0, done.output
    model = cxr_edge.load(out, device="cpu", threads=1)
    result = model.predict(SAMPLES[0], heatmaps=True)
    np.testing.assert_allclose(result.values, answers(Kind(), read_image(SAMPLES[0]).pixels)[[0, 3]], atol=1e-5)
    assert {finding.label: finding.threshold for finding in (*result.findings, *result.improbable)} == {
        "Effusion": 0.25,
        "Scoliosis": 0.5,
    }
    assert "t.csv, as published; 0.5 for Scoliosis" in read_bundle(out).files["MODEL_CARD.md"].decode()


def test_a_model_without_positions_is_a_bundle_without_heat_maps(tmp_path):
    done, out = imported(tmp_path, Kind(positions=False))
    assert done.exit_code == 0, done.output
    assert "No heat maps: no tensor with positions" in done.output
    model = cxr_edge.load(out, device="cpu", threads=1)
    np.testing.assert_allclose(
        model.predict(SAMPLES[1]).values, answers(Kind(positions=False), read_image(SAMPLES[1]).pixels), atol=1e-5
    )
    with pytest.raises(HeatmapUnavailable):
        model.predict(SAMPLES[1], heatmaps=True)
    done = CliRunner().invoke(sdk, ["infer", str(SAMPLES[0]), "--bundle", str(out), "--cam", "1", "--out",
                                    str(tmp_path / "out")])  # fmt: skip
    assert done.exit_code != 0
    assert "has no heat maps" in done.output
    done = CliRunner().invoke(sdk, ["infer", str(SAMPLES[0]), "--bundle", str(out), "--json"])
    assert done.exit_code == 0, done.output


@pytest.mark.parametrize(
    ("kind", "options", "labels", "message"),
    [
        (Kind(), ("--range", "1,1"), None, "two different numbers"),
        (Kind(), (), "a,b,c", "expected 4 labels, as many as 'answer' has numbers, got 3"),
        (Kind(), (), "a,b,c,a", "distinct names"),
        (Kind(), (), "a/b,b,c,d", "use letters, digits"),
        (Kind(), ("--normal", "x"), None, "expected --normal to name labels, got x"),
        (Kind(), ("--mean", "1,2"), None, "one number or three for --mean, because 'pixels' is RGB"),
        (Kind(channels=1), ("--mean", "1,2,3"), None, "one number for --mean, because 'pixels' is grey"),
        (Kind(), ("--std", "0"), None, "numbers above 0"),
        (Kind(), ("--size", "96"), None, "takes images of 64x64 pixels alone"),
        (Kind(), ("--output", "x"), None, "expected --output to be one of answer"),
        (Kind(), ("--features", "flat"), None, "has no positions"),
        (Kind(), ("--features", "nothing"), None, "has no tensor"),
        (Kind(end="Clip"), (), None, "say which with --ends"),
        (Kind(end="Mean"), (), None, "say which with --ends"),
        (Kind(), ("--ends", "logits"), None, "ends with sigmoid, which gives probabilities; leave out --ends logits"),
        (Kind(), ("--ends", "softmax"), None, "ends with sigmoid, which gives probabilities; leave out --ends softmax"),
        (Kind(end="logits"), ("--ends", "probabilities"), None, "logits? Leave out --ends probabilities"),
        (Kind(side=16), (), None, "no image of 32x32 pixels or more"),
        (Kind(), (), ",,,", "expected a name for one output at least"),
        (Kind(), ("--thresholds", "."), None, "is a directory"),
        (Kind(batch=8), (), None, "takes batches of 8 images alone"),
        (Kind(channels=4), (), None, "to take images"),
    ],
)
def test_what_is_wrong_or_open_is_named(tmp_path, kind, options, labels, message):
    done, out = imported(tmp_path, kind, *options, labels=labels)
    assert done.exit_code in (1, 2)
    assert message in " ".join(done.output.replace("│", " ").split())
    assert not out.exists()


def test_a_float_input_without_a_range_is_refused_with_the_choices(tmp_path):
    onnx.save(classifier(Kind()), tmp_path / "model.onnx")
    command = [sys.executable, "-m", "export", "import", "onnx", str(tmp_path / "model.onnx"), "--labels",
               ",".join(NAMES), "--out", str(tmp_path / "bundle")]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 1
    assert done.stderr.startswith("export: 'pixels' takes floating-point numbers")
    assert "0,1 or 0,255 or -1,1" in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("content", [b"", b"not a graph", b"\x08\x08\x12\x00" * 9])
def test_a_file_that_is_no_model_is_refused(tmp_path, content):
    (tmp_path / "model.onnx").write_bytes(content)
    command = ["import", "onnx", str(tmp_path / "model.onnx"), "--labels", "a", "--out", str(tmp_path / "bundle")]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 1
    assert "is not an ONNX model" in done.output or "expected a model with one input" in done.output


def test_an_imported_bundle_is_recalibrated_and_gets_other_precisions(tmp_path):
    done, out = imported(tmp_path, Kind(), "--normal", "No Finding")
    assert done.exit_code == 0, done.output
    for precision in ("fp16", "int8"):
        done = CliRunner().invoke(app, ["variant", str(out), precision, "--images", str(SAMPLES[0].parent)])
        assert done.exit_code == 0, done.output
    done = CliRunner().invoke(app, ["verify", str(out)])
    assert done.exit_code == 0, done.output
    assert set(read_bundle(out).manifest.variants) == {"fp32", "fp16", "int8"}
    assert f"| fp16 | {len(SAMPLES)} user's |" in read_bundle(out).files["MODEL_CARD.md"].decode()
    for options, message in (([], "expected the data set"), (["--images", str(ROOT), "--test"], "among the images")):
        done = CliRunner().invoke(app, ["variant", str(out), "fp16", *options])
        assert done.exit_code == 2
        assert message in " ".join(done.output.replace("│", " ").split())
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["operating_points"]["imported"]["single"]["fitted_on"] == "no images: 0.5 for all"
