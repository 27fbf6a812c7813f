"""Export: the gate passes what computes the same, and refuses everything else."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import export.bundle_files
from cxr_edge import errors
from cxr_edge.model.bundle import SHIPPED, read_bundle
from cxr_edge.model.preprocess import preprocess
from export.convert import Graphs, convert
from export.errors import ExportError
from export.images import load_gate_images
from export.maps import largest_difference
from export.parity import TOLERANCES, Differences, ParityError, gradient_tape_maps, measure, require_parity
from export.publish import Description, publish
from tests.conftest import ROOT
from training.network.architecture import LOGITS, build_network, last_convolution, to_float32

COUNT = len(read_bundle().manifest.labels)
SHIPPED_MANIFEST = json.loads((SHIPPED / "manifest.json").read_text())
DESCRIPTION = Description(
    name="test",
    version="1",
    decisions={key: SHIPPED_MANIFEST[key] for key in ("calibration", "operating_points")}
    | {"default_tta_mode": SHIPPED_MANIFEST["tta"]["default_mode"]},
    training=SHIPPED_MANIFEST["training"],
    notes="",
    maps=SHIPPED_MANIFEST["maps"]["method"],
)


@pytest.fixture(scope="module")
def exported(trained_keras) -> tuple[keras.Model, Graphs]:
    """The shipped model and its graphs, named as in a fresh process: Keras numbers layers over all models of one."""
    keras.utils.clear_session()
    network = to_float32(keras.models.load_model(trained_keras, compile=False))
    return network, convert(network, DESCRIPTION.maps)


@pytest.fixture(scope="module")
def network(exported) -> keras.Model:
    return exported[0]


@pytest.fixture(scope="module")
def graphs(exported) -> Graphs:
    return exported[1]


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return load_gate_images(ROOT / "samples", (224, 224))


@pytest.fixture(scope="module")
def active_unit(network, images) -> int:
    """A unit before the logits that is not zero on the first images: changing it changes the answer."""
    active = keras.Model(network.input, network.get_layer("fc2").output)(images[:2, ..., np.newaxis].astype(np.float32))
    return int(np.asarray(active).min(axis=0).argmax())


def perturbed(graph: bytes, name: str, amount: float, element: tuple[int, ...] | None = None) -> bytes:
    """Change one element of one weight; the largest if none is named, since the network may hardly use another."""
    model = onnx.load_from_string(graph)
    (tensor,) = [t for t in model.graph.initializer if t.name == name]
    values = numpy_helper.to_array(tensor).copy()
    values[np.unravel_index(np.abs(values).argmax(), values.shape) if element is None else element] += amount
    tensor.CopyFrom(numpy_helper.from_array(values, name))
    return model.SerializeToString()


def kernel_names(graph: bytes) -> list[str]:
    model = onnx.load_from_string(graph)
    return [t.name for t in model.graph.initializer if len(t.dims) == 4 and min(t.dims[:2]) > 1]


def label_weights(maps: bytes) -> str:
    """The name of the last layer's weights in a companion, (1, labels, units)."""
    (name,) = (t.name for t in onnx.load_from_string(maps).graph.initializer if list(t.dims) == [1, COUNT, 256])
    return name


def test_the_shipped_bundle_is_this_export_of_the_shipped_model(network, graphs, image):
    """Converted anew, the model is the shipped graph, and the maps are the shipped ones.

    TensorFlow folds batch normalisation into weights by the reciprocal square root of the CPU at hand, which AMD's and
    Intel's round differently: constants are compared to single precision's rounding, not to the last bit.
    """
    from cxr_edge.backends import open_graph
    from cxr_edge.model.preprocess import preprocess

    shipped = read_bundle().files
    image = preprocess(image, (224, 224))[np.newaxis]
    (operators, constants), (operators_then, constants_then) = map(parts_of, (graphs.model, shipped["model.onnx"]))
    assert operators == operators_then
    assert constants.keys() == constants_then.keys()
    for name, then in constants_then.items():
        rounding = 4 * np.finfo(np.float32).eps * np.abs(then).max(initial=0)
        np.testing.assert_allclose(constants[name], then, rtol=0, atol=rounding, err_msg=name)
    features = {"last_conv": np.random.default_rng(0).normal(size=(1, 7, 7, 1280)).astype(np.float32)}
    for fresh, old, feeds, outputs in (
        (graphs.model, shipped["model.onnx"], {"image": image}, ["probabilities", "logits", "last_conv"]),
        (graphs.maps, shipped["maps.onnx"], features, ["maps"]),
    ):
        for one, two in zip(*(open_graph(g).run(outputs, feeds) for g in (fresh, old)), strict=True):
            np.testing.assert_allclose(one, two, rtol=0, atol=1e-5 * np.abs(two).max())


def parts_of(graph: bytes) -> tuple[list[str], dict[str, np.ndarray]]:
    """The operators of a graph in their order, and its constants by name."""
    model = onnx.load_from_string(graph)
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    return [node.op_type for node in model.graph.node], constants


def test_parity_on_the_images_of_the_repository(network, graphs, images):
    differences = measure(network, graphs, DESCRIPTION.maps, images)
    require_parity(differences)
    assert differences.probabilities < TOLERANCES.probabilities


def test_a_network_of_another_size_that_was_never_fitted(images):
    """Its features are larger or smaller than a fitted one's, and the rounding with them."""
    fresh = build_network(COUNT, 160)
    made = convert(fresh, "layercam")
    small = np.stack([preprocess(image, (160, 160)) for image in images[:1]])
    require_parity(measure(fresh, made, "layercam", small))


def test_a_bundle_is_written_and_loads(network, graphs, images, tmp_path):
    out = publish(network, graphs, DESCRIPTION, images[:1], tmp_path / "bundle")
    manifest = read_bundle(out).manifest
    assert manifest.variants["fp32"].gate["images"] == 1
    assert manifest.source["training"] == DESCRIPTION.training
    publish(network, graphs, replace(DESCRIPTION, version="2"), images[:1], out)
    assert read_bundle(out).manifest.version == "2"
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


@pytest.mark.parametrize("which", ["first convolution", "middle convolution", "last convolution", "dense"])
def test_one_perturbed_weight_is_refused(network, graphs, images, active_unit, tmp_path, which):
    kernels = kernel_names(graphs.model)
    name = {
        "first convolution": kernels[0],
        "middle convolution": kernels[len(kernels) // 2],
        "last convolution": kernels[-1],
        "dense": next(
            t.name for t in onnx.load_from_string(graphs.model).graph.initializer if list(t.dims) == [256, COUNT]
        ),
    }[which]
    element = (active_unit, 3) if which == "dense" else None
    broken = replace(graphs, model=perturbed(graphs.model, name, 1.0, element))
    with pytest.raises(ParityError, match="no bundle is written"):
        publish(network, broken, DESCRIPTION, images[:2], tmp_path / "bundle")
    assert not list(tmp_path.iterdir())


def test_one_perturbed_weight_of_the_companion_is_refused(network, graphs, images, active_unit, tmp_path):
    broken = replace(graphs, maps=perturbed(graphs.maps, label_weights(graphs.maps), 0.1, (0, 3, active_unit)))
    with pytest.raises(ParityError, match="maps differ"):
        publish(network, broken, DESCRIPTION, images[:2], tmp_path / "bundle")


def test_a_refused_export_leaves_the_old_bundle(network, graphs, images, active_unit, tmp_path):
    out = publish(network, graphs, DESCRIPTION, images[:1], tmp_path / "bundle")
    before = (out / "manifest.json").read_bytes()
    broken = replace(graphs, maps=perturbed(graphs.maps, label_weights(graphs.maps), 10.0, (0, 3, active_unit)))
    with pytest.raises(ParityError):
        publish(network, broken, DESCRIPTION, images[:2], out)
    assert (out / "manifest.json").read_bytes() == before


def test_one_missing_threshold_is_refused(network, graphs, images, tmp_path):
    decisions = json.loads(json.dumps(DESCRIPTION.decisions))
    del decisions["operating_points"]["max_f1"]["tta"]["thresholds"]["Hernia"]
    with pytest.raises(errors.BundleInvalid, match="lacks a threshold for Hernia"):
        publish(network, graphs, replace(DESCRIPTION, decisions=decisions), images[:1], tmp_path / "bundle")
    assert not list(tmp_path.iterdir())


def test_one_wrong_hash_is_refused(network, graphs, images, tmp_path, monkeypatch):
    honest = export.bundle_files._hashed

    def wrong_for_the_companion(data: bytes) -> dict:
        return {**honest(data), "sha256": "0" * 64} if data == graphs.maps else honest(data)

    monkeypatch.setattr(export.bundle_files, "_hashed", wrong_for_the_companion)
    with pytest.raises(errors.BundleDamaged, match=r"maps\.onnx"):
        publish(network, graphs, DESCRIPTION, images[:1], tmp_path / "bundle")
    assert not list(tmp_path.iterdir())


def test_a_directory_that_is_not_a_bundle_is_not_replaced(network, graphs, images, tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(ExportError, match="not empty and not a bundle"):
        publish(network, graphs, DESCRIPTION, images[:1], tmp_path)
    assert (tmp_path / "thesis.txt").exists()


def test_a_graph_that_returns_nan_is_refused(network, graphs, images):
    name = kernel_names(graphs.model)[-1]
    broken = replace(graphs, model=perturbed(graphs.model, name, float("nan")))
    with pytest.raises(ParityError):
        require_parity(measure(network, broken, DESCRIPTION.maps, images[:1]))


def test_a_weak_labels_map_in_the_wrong_place_is_refused(network, graphs, images):
    """Every label counts by its own maximum, not by the strongest label's."""
    expected = np.zeros((1, COUNT, 7, 7), np.float32)
    expected[0, 0, 0, 0] = 1.0
    expected[0, 1, 3, 3] = 1e-4
    moved = expected.copy()
    moved[0, 1] = np.roll(moved[0, 1], 1)
    assert largest_difference(expected, expected) == 0
    assert largest_difference(moved, expected) > TOLERANCES.maps


def test_nan_is_over_every_tolerance():
    with pytest.raises(ParityError, match="logits"):
        require_parity(Differences(probabilities=0, logits=float("nan"), features=0, maps=0))


def test_a_gate_without_images_is_refused(tmp_path):
    with pytest.raises(ExportError, match="--images"):
        load_gate_images(tmp_path, (224, 224))


@pytest.mark.parametrize("method", ["layercam", "gradcam"])
def test_the_maps_equal_the_tapes_for_every_label(network, method):
    from cxr_edge.backends import open_graph

    last_conv = np.random.default_rng(0).normal(0, 1, (3, 7, 7, 1280)).astype(np.float32)
    head = keras.Model(last_convolution(network).output, network.get_layer(LOGITS).output)
    expected = gradient_tape_maps(head, last_conv, method)
    (found,) = open_graph(convert(network, method).maps).run(["maps"], {"last_conv": last_conv})
    assert found.shape == (3, COUNT, 7, 7)
    np.testing.assert_allclose(found, expected, atol=1e-4 * expected.max())
    assert (expected.max(axis=(2, 3)) > 0).any(axis=0).all()


def test_a_bundle_with_gradcam_and_one_without_maps(network, graphs, images, tmp_path):
    with_gradcam = replace(DESCRIPTION, maps="gradcam")
    out = publish(network, convert(network, "gradcam"), with_gradcam, images[:1], tmp_path / "gradcam")
    manifest = read_bundle(out).manifest
    assert manifest.maps.method_name == "Grad-CAM"
    assert max(manifest.gate("fp32")["largest_difference_to_numerical_gradient"].values()) < 1e-5
    assert "Heat maps (Grad-CAM)" in (out / "MODEL_CARD.md").read_text()
    without = replace(DESCRIPTION, maps=None)
    out = publish(network, replace(graphs, maps=None), without, images[:1], tmp_path / "none")
    manifest = read_bundle(out).manifest
    assert manifest.maps is None
    assert "maps" not in manifest.gate("fp32")["largest_difference_to_keras"]
    assert "no heat maps" in (out / "MODEL_CARD.md").read_text()


def test_maps_that_numerical_differentiation_does_not_confirm_are_refused(
    network, graphs, images, tmp_path, monkeypatch
):
    """Also where no framework is there to compare with: these are the maps of the other method."""
    monkeypatch.setattr("export.publish.require_parity", lambda _: None)
    others = replace(graphs, maps=convert(network, "gradcam").maps)
    with pytest.raises(ExportError, match="numerical differentiation"):
        publish(network, others, DESCRIPTION, images[:1], tmp_path / "bundle")
    assert not list(tmp_path.iterdir())


def test_a_mixed_precision_model_is_exported_in_float32(images):
    keras.config.set_dtype_policy("mixed_float16")
    try:
        mixed = build_network(COUNT, 64)
    finally:
        keras.config.set_dtype_policy("float32")
    rebuilt = to_float32(mixed)
    assert {layer.compute_dtype for layer in rebuilt.layers} == {"float32"}
    for one, two in zip(mixed.get_weights(), rebuilt.get_weights(), strict=True):
        np.testing.assert_array_equal(one, two)
    nodes = onnx.load_from_string(convert(rebuilt, method=None).model).graph.node
    assert [node.op_type for node in nodes].count("Cast") == 1  # of the uint8 input


def test_the_command_line(trained_keras, tmp_path):
    command = [sys.executable, "-m", "export", str(trained_keras), "--out", str(tmp_path / "bundle")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    assert "Parity gate" in done.stdout
    assert read_bundle(tmp_path / "bundle").manifest.training == SHIPPED_MANIFEST["training"]
    assert read_bundle(tmp_path / "bundle").manifest.name == "nih14-efficientnetb0"
    decisions = json.loads(trained_keras.with_name("decisions.json").read_text())
    assert read_bundle(tmp_path / "bundle").manifest.maps.method == "layercam"
    (tmp_path / "others.json").write_text(json.dumps({**decisions, "model_sha256": "0" * 64}))
    (tmp_path / "early.json").write_text(json.dumps({k: v for k, v in decisions.items() if k != "model_sha256"}))
    for name, message in (
        ("nowhere.json", "does not exist"),
        ("others.json", "was not fitted for"),
        ("early.json", "does not record its model"),
    ):
        wrong = [*command, "--decisions", str(tmp_path / name)]
        done = subprocess.run(wrong, capture_output=True, text=True, cwd=ROOT, check=False)
        assert done.returncode == 2
        printed = " ".join(done.stderr.replace("│", " ").split())
        assert message in printed
        assert "training calibrate" in printed
    done = subprocess.run([*command, "--name", "lr=1"], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 2
    assert "'lr=1' is not a valid name" in done.stderr


def test_training_without_weights_in_the_repository_is_not_needed(trained_keras):
    assert Path(trained_keras).stat().st_size < 16 * 2**20
