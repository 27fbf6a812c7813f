"""The bundle: every fault is refused, and the message states what to do."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest

import cxr_edge
from cxr_edge import errors
from cxr_edge.model.bundle import SHIPPED, read_bundle
from cxr_edge.model.manifest import parse_manifest
from training.labels import read_labels


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return Path(shutil.copytree(SHIPPED, tmp_path / "bundle"))


def edit(bundle: Path, change) -> None:
    manifest = json.loads((bundle / "manifest.json").read_text())
    change(manifest)
    (bundle / "manifest.json").write_text(json.dumps(manifest))


def replace_file(bundle: Path, name: str, data: bytes) -> None:
    """Put other content into the bundle, with its hash: a consistent, but foreign bundle."""
    import hashlib

    (bundle / name).write_bytes(data)
    entry = {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
    edit(bundle, lambda m: m["files"].update({name: entry}))


def test_the_shipped_bundle_verifies():
    bundle = read_bundle()
    assert bundle.manifest.labels == read_labels().records
    graphs = {"model.onnx", "maps.onnx", "model.fp16.onnx", "maps.fp16.onnx"}
    assert set(bundle.files) == {*graphs, "MODEL_CARD.md", "evaluation.json"}
    assert "not a medical device" in bundle.files["MODEL_CARD.md"].decode()


def test_the_shipped_gate_figures_are_within_its_tolerances():
    manifest = read_bundle().manifest
    gate = manifest.gate("fp32")
    assert gate["images"] > 0
    for name, tolerance in manifest.tolerances.items():
        assert gate["largest_difference_to_keras"][name] <= tolerance


def test_a_precision_without_a_variant_has_no_gate():
    assert read_bundle().manifest.gate("bf16") is None


def test_missing_directory_and_missing_manifest(tmp_path):
    for directory in (tmp_path / "nowhere", tmp_path):
        with pytest.raises(errors.BundleNotFound, match="python -m export"):
            read_bundle(directory)


@pytest.mark.parametrize("name", ["model.onnx", "maps.onnx", "MODEL_CARD.md"])
@pytest.mark.parametrize("damage", ["flip a bit", "cut", "lengthen", "remove"])
def test_damaged_files(bundle, name, damage):
    path = bundle / name
    data = bytearray(path.read_bytes())
    if damage == "flip a bit":
        data[len(data) // 2] ^= 1
    elif damage == "cut":
        del data[-1]
    elif damage == "lengthen":
        data.append(0)
    if damage == "remove":
        path.unlink()
    else:
        path.write_bytes(data)
    with pytest.raises(errors.BundleDamaged, match="copy or export the bundle again"):
        read_bundle(bundle)


KEYS = [
    key
    for key in json.loads((SHIPPED / "manifest.json").read_text())
    if key
    not in {"members", "view", "export", "out_of_distribution", "header_checks"}  # reserved, informative or optional
]


def platt(manifest, slope=1.0, without=None):
    names = [label["name"] for label in manifest["labels"]]
    curves = {label: {"slope": slope, "intercept": 0.0} for label in names if label != without}
    return {"method": "platt", "single": curves, "tta": curves, "fitted_on": "images"}


@pytest.mark.parametrize("key", KEYS)
def test_a_missing_key_is_named(bundle, key):
    edit(bundle, lambda m: m.pop(key))
    with pytest.raises(errors.BundleInvalid, match=key):
        read_bundle(bundle)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m["operating_points"]["max_f1"]["tta"]["thresholds"].pop("Mass"), "lacks a threshold for Mass"),
        (lambda m: m["operating_points"]["max_f1"].pop("single"), "single"),
        (lambda m: m["operating_points"]["max_f1"]["tta"]["thresholds"].update(Mass=1.5), "<= 1.0"),
        (lambda m: m["operating_points"]["max_f1"]["tta"]["thresholds"].update(Mass=0), "> 0.0"),
        (lambda m: m["operating_points"]["max_f1"]["tta"]["thresholds"].update(Mass="high"), "float"),
        (lambda m: m.update(min_probability=0.99), "hide positive findings"),
        (lambda m: m.update(default_operating_point="best"), "'best' is not among operating_points"),
        (lambda m: m["tta"].update(default_mode="triple"), "triple"),
        (lambda m: m.update(labels=[{"name": "Mass"}, {"name": "Mass"}]), "distinct names"),
        (lambda m: m["tta"]["variants"].reverse(), "unchanged image"),
        (lambda m: m["tta"]["variants"][1].update(brightness=-1), "brightness"),
        (lambda m: m["input"].update(size=[0, 224]), "input.size"),
        (lambda m: m["input"].update(color="rgb"), "rgb"),
        (lambda m: m["input"].update(interpolation="linear"), "linear"),
        (lambda m: m["input"].update(fit="pad"), "pad"),
        (lambda m: m["calibration"].update(method="magic"), "magic"),
        (lambda m: m.update(calibration={"method": "platt"}), "expected curves for single"),
        (lambda m: m.update(calibration={**platt(m), "method": "identity"}), "and only there"),
        (lambda m: m.update(calibration=platt(m, without="Mass")), "calibration.single lacks a curve for Mass"),
        (lambda m: m.update(calibration=platt(m, slope=0)), "slope"),
        (lambda m: m.update(calibration=platt(m, slope=float("1e300"))), "slope"),
        (lambda m: m.update(calibration=platt(m, slope="steep")), "slope"),
        (lambda m: m["files"].update({"../evil": m["files"]["model.onnx"]}), "not a plain file name"),
        (lambda m: m["files"].update({"C:evil": m["files"]["model.onnx"]}), "not a plain file name"),
        (lambda m: m["variants"]["fp32"].update(model="other.onnx"), "'other.onnx', which is not among files"),
        (lambda m: m["maps"]["graphs"].update(fp32="other.onnx"), "'other.onnx', which is not among files"),
        (lambda m: m["maps"]["graphs"].pop("fp16"), "maps.graphs: expected a graph for each of fp32, fp16"),
        (lambda m: m["maps"].update(method="magic"), "magic"),
        (lambda m: m["labels"][0].update(role="disease"), "disease"),
        (lambda m: [label.update(role="normal") for label in m["labels"]], "at least one of the role 'finding'"),
        (lambda m: m["labels"][0].update(code=m["labels"][1]["code"]), "same code"),
        (lambda m: m["labels"][0]["code"].update(value="9" * 17), "value"),
        (lambda m: m["labels"][0]["display"].update(deutsch="Atelektase"), "display"),
        (lambda m: m.update(default_variant="int3"), "'int3' is not among variants"),
        (lambda m: m.update(format_version=1), "format_version"),
        (lambda m: m.update(format_version="1" * 5000), "format_version"),
        (lambda m: m.update(format_version="2.banana"), "format_version"),
        (lambda m: m.update(min_probability=-5), "min_probability"),
        (lambda m: m["tta"].update(variants=m["tta"]["variants"] * 2), "distinct variants"),
        (lambda m: m["tta"].update(variants=m["tta"]["variants"] * 20), "variants"),
        (lambda m: m["tta"].update(variants=[]), "variants"),
        (lambda m: m["labels"][0].update(name="Mass/../.."), "labels"),
        (lambda m: m["labels"][0].update(name="Lump\n"), "labels"),
        (lambda m: m["labels"][0].update(name="Warnings"), "that of another column"),
        (
            lambda m: m["labels"].append({"name": "MASS", "role": "normal", "code": m["labels"][4]["site"]}),
            "file names",
        ),
        (lambda m: m["labels"][0]["code"].update(value="9\u00fc"), "value"),
        (lambda m: m["labels"][0].update(name="\x1b]0;x\x07"), "labels"),
        (lambda m: m["files"]["model.onnx"].update(bytes=10**18), "bytes"),
        (lambda m: m["files"]["model.onnx"].update(bytes=-1), "bytes"),
        (lambda m: m["files"]["model.onnx"].update(sha256="short"), "sha256"),
    ],
)
def test_a_value_that_breaks_its_rule_is_named(bundle, change, message):
    edit(bundle, change)
    with pytest.raises(errors.BundleInvalid, match=message):
        read_bundle(bundle)


@pytest.mark.parametrize(("version", "advice"), [("3.0", "update cxr-edge"), ("1.1", "export the model again")])
def test_another_major_version(bundle, version, advice):
    edit(bundle, lambda m: m.update(format_version=version))
    with pytest.raises(errors.BundleVersion, match=advice):
        read_bundle(bundle)


def test_the_same_major_version_keeps_unknown_keys(bundle):
    edit(bundle, lambda m: m.update(format_version="2.7", novelty={"a": 1}))
    manifest = parse_manifest((bundle / "manifest.json").read_bytes())
    assert manifest.source["novelty"] == {"a": 1}
    cxr_edge.load(bundle, device="cpu")


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"\xff\xfe", b'{"format_version": "2.0"}', b'{"a":' * 100_000])
def test_a_file_that_is_not_a_manifest(bundle, content):
    (bundle / "manifest.json").write_bytes(content)
    with pytest.raises(errors.BundleInvalid):
        read_bundle(bundle)


@pytest.mark.parametrize("tensor", ["image", "probabilities", "logits", "features", "maps"])
def test_wrong_tensor_names(bundle, tensor):
    edit(bundle, lambda m: m["tensors"].update({tensor: "other"}))
    with pytest.raises(errors.BundleTensors, match="'other'"):
        cxr_edge.load(bundle, device="cpu")


def test_wrong_tensor_shape(bundle):
    edit(bundle, lambda m: m["input"].update(size=[256, 256]))
    with pytest.raises(errors.BundleTensors, match="256"):
        cxr_edge.load(bundle, device="cpu")


def test_a_graph_that_does_not_load(bundle):
    replace_file(bundle, "maps.onnx", b"no graph")
    with pytest.raises(errors.BundleTensors, match="cannot load"):
        cxr_edge.load(bundle, device="cpu")


def test_weights_outside_the_graph_are_not_read(bundle, tmp_path, monkeypatch):
    """They would not be under the manifest's hashes."""
    model = onnx.load(bundle / "model.onnx")
    monkeypatch.chdir(tmp_path)
    onnx.save(model, "model.onnx", save_as_external_data=True, location="weights.bin", size_threshold=1024)
    replace_file(bundle, "model.onnx", Path("model.onnx").read_bytes())
    with pytest.raises(errors.BundleTensors, match="cannot load"):
        cxr_edge.load(bundle, device="cpu")


def test_a_graph_with_another_input_is_refused(bundle):
    model = onnx.load(bundle / "maps.onnx")
    model.graph.input.append(onnx.helper.make_tensor_value_info("extra", 1, ["N"]))
    model.graph.node.append(onnx.helper.make_node("Identity", ["extra"], ["unused"]))
    replace_file(bundle, "maps.onnx", model.SerializeToString())
    with pytest.raises(errors.BundleTensors, match="extra"):
        cxr_edge.load(bundle, device="cpu")


def test_a_network_that_returns_nan_is_refused(bundle, image):
    model = onnx.load(bundle / "model.onnx")
    kernel = next(t for t in model.graph.initializer if list(t.dims) == [256, 15])
    kernel.CopyFrom(onnx.numpy_helper.from_array(np.full((256, 15), np.nan, np.float32), kernel.name))
    replace_file(bundle, "model.onnx", model.SerializeToString())
    with pytest.raises(errors.BundleTensors, match="not a finite number"):
        cxr_edge.load(bundle, device="cpu").predict(image)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes, which only POSIX has")
def test_a_pipe_in_place_of_the_manifest_does_not_hang(tmp_path):
    os.mkfifo(tmp_path / "manifest.json")
    with pytest.raises(errors.BundleNotFound):
        read_bundle(tmp_path)


def test_cutting_at_the_features_leaves_a_runnable_head(image):
    model = onnx.load(SHIPPED / "model.onnx")
    head = onnx.utils.Extractor(model).extract_model(["last_conv"], ["logits"])
    from cxr_edge.backends import open_graph
    from cxr_edge.model.preprocess import preprocess

    whole = open_graph(model.SerializeToString())
    logits, last_conv = whole.run(["logits", "last_conv"], {"image": preprocess(image, (224, 224))[np.newaxis]})
    (of_head,) = open_graph(head.SerializeToString()).run(["logits"], {"last_conv": last_conv})
    np.testing.assert_allclose(of_head, logits, atol=1e-5)
