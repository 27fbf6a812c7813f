"""The gate between variants: it passes what answers alike, and refuses a perturbed weight without writing."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace

import msgspec
import numpy as np
import onnx
import pandas as pd
import pytest
from onnx import numpy_helper

import export.variants
from cxr_edge.model.bundle import SHIPPED, read_bundle
from export.card import measured
from export.errors import ExportError
from export.gate import LIMITS, Limits, Runtime, answers, compare, over_limits
from export.maps import map_agreement
from export.variants import GateError, add_variant, make_fp16
from export.verify import parse_runtime, verify
from tests.conftest import SAMPLES
from training.data.nih import read_dataset
from training.evaluation.report import card_figures
from training.evaluation.resampling import Bootstrap
from training.labels import LabelSet

#: Part of the name of a kernel on which every later block depends.
PERTURBED = "block5a_expand_conv"

IMAGES = pd.DataFrame({"image": [path.name for path in SAMPLES], "path": [str(path) for path in SAMPLES]})
LABELS = LabelSet.of(read_bundle().manifest.labels)
COUNT = len(LABELS)

#: The collections of images of 512x512 pixels.
LARGE = ("A", "B", "C", "D", "E", "F")


@pytest.fixture(scope="module")
def without_variants(tmp_path_factory):
    """The shipped bundle as an export leaves it."""
    root = tmp_path_factory.mktemp("bundle") / "plain"
    shutil.copytree(SHIPPED, root)
    manifest = json.loads((root / "manifest.json").read_text())
    for name in ("model.fp16.onnx", "maps.fp16.onnx"):
        del manifest["files"][name]
        (root / name).unlink()
    manifest["variants"] = {"fp32": manifest["variants"]["fp32"]}
    manifest["maps"]["graphs"] = {"fp32": manifest["maps"]["graphs"]["fp32"]}
    (root / "manifest.json").write_text(json.dumps(manifest))
    return root


def test_a_runtime_agrees_with_itself():
    bundle = read_bundle()
    one = answers(bundle, Runtime("cpu", "fp32"), IMAGES)
    figures = compare(bundle.manifest, one, one, IMAGES, Bootstrap(20))
    for changes in figures["tta_modes"].values():
        assert changes["probability"]["max"] == changes["flips"]["all"] == 0
        assert changes["mean_auc"] is None
    assert figures["maps"]["correlation_min"] == pytest.approx(1)
    assert figures["maps"]["same_strongest_cell"] == 1
    assert not over_limits(figures, Limits(0, 0, 0, 1e-9))


def test_the_shipped_variants_pass_on_the_images_of_the_repository(with_int8):
    found = verify(
        with_int8, "cpu:fp32", None, images=SAMPLES[0].parent, data=None, part="validation", limits={}, resamples=20
    )
    assert set(found) == {"cpu:fp16", "cpu:int8"}
    figures = found["cpu:fp16"]
    assert figures["over_limits"] == []
    assert 0 < figures["tta_modes"]["tta"]["probability"]["max"] < LIMITS["fp16"].probability
    assert figures["maps"]["correlation_median"] > 0.999


def test_the_gate_in_the_manifest_of_the_shipped_variant_passed():
    gates = read_bundle().manifest.variants["fp16"].gate
    assert set(gates) == {"validation", "test"}
    for figures in gates.values():
        assert over_limits(figures, LIMITS["fp16"]) == figures["over_limits"] == []
        assert figures["limits"] == {"probability": 0.01, "flips": 0.002, "mean_auc": 0.0005, "maps": 0.001}
        assert all(changes["mean_auc"]["interval"] for changes in figures["tta_modes"].values())


def test_a_bundle_with_another_variant_holds_the_same_model(with_int8):
    ours, other = read_bundle(), read_bundle(with_int8)
    assert {name: data for name, data in other.files.items() if name != "model.int8.onnx"} == {
        **ours.files, "MODEL_CARD.md": other.files["MODEL_CARD.md"]
    }  # fmt: skip
    assert set(other.manifest.source) == set(ours.manifest.source)
    changed = {key for key in ours.manifest.source if ours.manifest.source[key] != other.manifest.source[key]}
    assert changed == {"files", "variants", "maps"}


def test_a_perturbed_weight_fails_the_gate(all_images, without_variants, monkeypatch):
    """One filter of one convolution a fifth larger, on the real validation images: refused, nothing written."""

    def perturbed(bundle, validation):
        made = make_fp16(bundle, validation)
        ((network, *companion),) = made.judged
        return replace(made, judged=((_perturbed(network), *companion),))

    monkeypatch.setitem(export.variants.MAKERS, "fp16", perturbed)
    before = {path.name: path.read_bytes() for path in without_variants.iterdir()}
    with pytest.raises(GateError, match=r"fp16 is not written, on 293 validation images: .* limit"):
        add_variant(
            without_variants,
            "fp16",
            read_dataset(all_images, LABELS),
            Bootstrap(20),
            look_at_test=False,
            collections=LARGE,
        )
    assert {path.name: path.read_bytes() for path in without_variants.iterdir()} == before


def test_a_variant_that_passes_is_written(all_images, without_variants, tmp_path):
    root = tmp_path / "bundle"
    shutil.copytree(without_variants, root)
    command = [sys.executable, "-m", "export", "variant", str(root), "fp16", "--data", str(all_images)]
    command += ["--resamples", "20", *(f"--collection={name}" for name in LARGE)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Passed." in done.stdout
    written = read_bundle(root)
    for name in ("model.fp16.onnx", "maps.fp16.onnx"):
        assert written.files[name] == read_bundle().files[name]
    gate = written.manifest.variants["fp16"].gate
    assert (gate["validation"]["images"], set(gate)) == (293, {"validation"})
    card = written.files["MODEL_CARD.md"].decode()
    assert "| fp16 | 293 validation |" in card
    assert card_figures(**measured(written)) in card
    assert measured(written) == measured(read_bundle(without_variants))


def test_a_bundle_without_maps_gets_a_variant_too():
    bundle = read_bundle()
    bare = replace(bundle, manifest=msgspec.structs.replace(bundle.manifest, maps=None))
    made = make_fp16(bare, IMAGES)
    assert made.graphs == ((bundle.files["model.fp16.onnx"],),)
    figures = export.variants.gate(bare, "fp16", made, IMAGES, Bootstrap(20))
    assert figures["maps"] is None
    assert figures["over_limits"] == []


def test_verify_exits_1_over_a_limit(tmp_path):
    command = [
        sys.executable,
        "-m",
        "export",
        "verify",
        "--max-probability",
        "1e-9",
        "--json",
        str(tmp_path / "gate.json"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "cpu:fp16 is over its limits: max |Δp|" in done.stderr
    assert json.loads((tmp_path / "gate.json").read_text())["cpu:fp16"]["over_limits"]


def test_the_change_of_auc_is_measured_with_labels():
    """Reversed scores reverse the ROC-AUC."""
    bundle = read_bundle()
    found = answers(bundle, Runtime("cpu", "fp32"), IMAGES)
    backwards = export.gate.Answers({mode: 1 - p for mode, p in found.raw.items()}, found.calibrated, found.maps)
    marks = np.zeros((len(IMAGES), len(LABELS)))
    marks[:4] = 1
    labelled = IMAGES.assign(patient=range(len(IMAGES)), **dict(zip(LABELS.names, marks.T, strict=True)))
    figures = compare(bundle.manifest, found, backwards, labelled, Bootstrap(50))
    scores = found.raw["single"]
    auc = np.mean([(scores[:4, i][:, None] > scores[4:, i]).mean() for i in LABELS.finding_columns])
    assert figures["tta_modes"]["single"]["mean_auc"]["value"] == pytest.approx(1 - 2 * auc, abs=1e-6)
    assert figures["tta_modes"]["single"]["calibration_error"]["value"] == 0
    assert over_limits(figures, LIMITS["int8"])


def test_nan_is_over_every_limit():
    bundle = read_bundle()
    found = answers(bundle, Runtime("cpu", "fp32"), IMAGES)
    broken = {mode: p.copy() for mode, p in found.raw.items()}
    broken["single"][0, 0] = np.nan
    without_numbers = export.gate.Answers(broken, found.calibrated, np.full_like(found.maps, np.nan))
    over = over_limits(compare(bundle.manifest, found, without_numbers, IMAGES, Bootstrap(20)), Limits(1, 1, 1, 1))
    assert [what.split(" nan")[0] for what in over] == ["1 - median correlation of maps", "max |Δp|, single"]


@pytest.mark.parametrize("value", [np.nan, 0.0])
def test_maps_without_a_number_or_a_shape_have_no_figures(value):
    maps = np.random.default_rng(0).random((2, COUNT, 7, 7), np.float32)
    assert all(np.isnan(figure) for figure in map_agreement(maps, np.full_like(maps, value)).values())


def test_map_agreement_finds_empty_and_mirrored_maps():
    rng = np.random.default_rng(0)
    maps = rng.random((2, COUNT, 7, 7), np.float32)
    other = maps.copy()
    other[0, 0] = 0
    other[1, 1] = maps[1, 1, ::-1]
    found = map_agreement(maps, other)
    assert found["empty_on_one_side"] == pytest.approx(1 / (2 * COUNT))
    varying = 2 * COUNT - 1
    same = varying - (maps[1, 1].argmax() != other[1, 1].argmax())
    assert found["same_strongest_cell"] == pytest.approx(same / varying)
    assert found["correlation_min"] < 0.9 < found["correlation_median"]


@pytest.mark.parametrize("text", ["cpu", "cpu:float16", "auto:fp32", ":fp16"])
def test_a_runtime_is_written_device_and_precision(text):
    with pytest.raises(ExportError, match="expected DEVICE:PRECISION"):
        parse_runtime(text, read_bundle())


def _perturbed(graph: bytes) -> bytes:
    model = onnx.load_from_string(graph)
    (tensor,) = (t for t in model.graph.initializer if len(t.dims) == 4 and PERTURBED in t.name)
    values = numpy_helper.to_array(tensor).copy()
    values[0] *= 1.2
    tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    return model.SerializeToString()
