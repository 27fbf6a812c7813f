"""Members: several networks answer as one, by the mean of their calibrated log-odds; each in its own way."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

import cxr_edge
from cxr_edge import errors
from cxr_edge.cli import app
from cxr_edge.model.bundle import SHIPPED, read_bundle
from cxr_edge.model.calibration import Curve
from cxr_edge.model.members import Outputs, merge_maps, merge_probabilities
from cxr_edge.model.network import InputFormat, Network, Tensors
from tests.bundles import make_bundle, make_ensemble
from tests.conftest import SAMPLES

LABELS = ("a", "b", "c")
INPUT = InputFormat((64, 64), "grey", "0-255", "area", "stretch")
TENSORS = Tensors("image", "probabilities", "logits", "features", "maps")
RNG = np.random.default_rng(0)


def network(name, labels, weight, curves):
    return Network(name=name, labels=labels, input=INPUT, tensors=TENSORS, variants={}, maps=None, weight=weight,
                   calibration=curves)  # fmt: skip


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def test_log_odds_are_averaged_over_the_members_that_have_the_label():
    first, second = RNG.random((2, 3), np.float32), RNG.random((2, 2), np.float32)
    curves = {"a": Curve(2.0, 0.5), "b": Curve(1.0, 0.0), "c": Curve(0.5, -1.0)}
    outputs = [
        Outputs(network("one", LABELS, 0.25, curves), first, None),
        Outputs(network("two", ("c", "a"), 0.5, {"a": Curve(1.0, 0.0), "c": Curve(1.5, 0.0)}), second, None),
    ]
    merged = merge_probabilities(outputs, LABELS)

    def odds(p):
        return np.log(p / (1 - p))

    a = (0.25 * (2 * odds(first[:, 0]) + 0.5) + 0.5 * odds(second[:, 1])) / 0.75
    c = (0.25 * (0.5 * odds(first[:, 2]) - 1) + 0.5 * 1.5 * odds(second[:, 0])) / 0.75
    expected = np.stack([sigmoid(a), first[:, 1], sigmoid(c)], axis=1)
    assert merged.dtype == np.float32
    np.testing.assert_allclose(merged, expected, rtol=1e-5)


def test_maps_are_added_on_one_grid_by_their_part_in_the_log_odds():
    first = RNG.random((2, 3, 4, 4), np.float32)
    second = np.ones((2, 1, 2, 2), np.float32) * np.float32(3)
    curves = {label: Curve(2.0, 0.0) for label in LABELS}
    outputs = [
        Outputs(network("one", LABELS, 0.5, curves), first[:, :, 0, 0], first),
        Outputs(network("two", ("b",), 0.5, {"b": Curve(4.0, 0.0)}), second[:, :, 0, 0], second),
        Outputs(network("three", ("b",), 1.0, {"b": Curve(1.0, 0.0)}), second[:, :, 0, 0], None),
    ]
    merged = merge_maps(outputs, LABELS, (4, 4))
    np.testing.assert_allclose(merged[:, [0, 2]], 2 * first[:, [0, 2]], rtol=1e-6)
    np.testing.assert_allclose(merged[:, 1], 0.25 * 2 * first[:, 1] + 0.25 * 4 * 3, rtol=1e-6)
    assert merge_maps(outputs[2:], LABELS, (4, 4)) is None


@pytest.fixture(scope="module")
def ensemble(tmp_path_factory):
    """The shipped network, and itself cut to four labels at 160 pixels."""
    folder = tmp_path_factory.mktemp("ensemble")
    plain = {name: {} for name in ("Mass", "Effusion", "No Finding", "Edema")}
    small = make_bundle(folder / "small", plain, size=160)
    return make_ensemble(folder / "joined", {"whole": (SHIPPED, 0.6), "small": (small, 0.4)}), small


@pytest.fixture(scope="module")
def joined(ensemble):
    return cxr_edge.load(ensemble[0], device="cpu", threads=1)


@pytest.mark.parametrize("mode", ["single", "tta", "adaptive"])
def test_an_ensemble_answers_what_its_members_answer_together(ensemble, joined, model, mode):
    small = cxr_edge.load(ensemble[1], device="cpu", threads=1)
    how = {"single": {"tta": False}, "tta": {"tta": True}, "adaptive": {"adaptive": True}}[mode]
    result = joined.predict(SAMPLES[1], heatmaps=True, **how)
    members = [one.evaluate(SAMPLES[1], one.settings(tta=True, heatmaps=True)) for one in (model, small)]
    whole = joined.evaluate(SAMPLES[1], joined.settings(tta=True, heatmaps=True))
    outputs = [
        Outputs(described, evaluation.probabilities, evaluation.maps)
        for described, evaluation in zip(joined.manifest.networks, members, strict=True)
    ]
    labels = joined.manifest.label_names
    np.testing.assert_allclose(whole.probabilities, merge_probabilities(outputs, labels), atol=2e-6)
    np.testing.assert_allclose(whole.maps, merge_maps(outputs, labels, (7, 7)), rtol=1e-3, atol=1e-4)
    assert whole.ood_score == pytest.approx(members[0].ood_score, abs=1e-4)
    used = whole if mode == "tta" else whole.only(whole.variants[: result.variants]) if mode == "single" else None
    if used is not None:
        again = joined.decide(used, joined.settings(heatmaps=True, **how))
        np.testing.assert_allclose(result.values, again.values, atol=1e-6)
        np.testing.assert_allclose(result.heatmap("Edema"), again.heatmap("Edema"), atol=1e-4)
    assert result.members == ("whole", "small")


def test_a_label_that_one_member_has_is_its_answer_alone(joined, model):
    """By the curve of single variants, since the members are averaged variant by variant."""
    name = "Cardiomegaly"
    place, curve = model.manifest.label_names.index(name), model.manifest.curves("single")[name]
    alone = model.evaluate(SAMPLES[2], model.settings(tta=False)).probabilities[0, place]
    found = joined.evaluate(SAMPLES[2], joined.settings(tta=False)).probabilities[0, place]
    assert found == pytest.approx(sigmoid(curve.slope * np.log(alone / (1 - alone)) + curve.intercept), abs=1e-6)


def test_the_record_of_an_ensemble_names_its_members(ensemble):
    done = CliRunner().invoke(app, ["infer", str(SAMPLES[0]), "--bundle", str(ensemble[0]), "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout.splitlines()[0])["members"] == ["whole", "small"]


def test_a_second_network_of_other_outputs_is_refused(ensemble, tmp_path):
    manifest = json.loads((ensemble[0] / "manifest.json").read_text())
    manifest["members"][1]["labels"] = manifest["members"][1]["labels"][:3]
    with pytest.raises(errors.BundleTensors, match=r"expected float32 \[None, 3\]"):
        cxr_edge.load(changed(ensemble[0], manifest, tmp_path), device="cpu")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m["members"].pop(), "members"),
        (lambda m: m["members"][1].update(name="whole"), "distinct names, got whole, whole"),
        (lambda m: m["members"][1].update(labels=["Gout"]), "small has the labels Gout, which are not among"),
        (lambda m: m["members"][1].update(labels=["Mass", "Mass"]), "small: expected distinct labels"),
        (lambda m: m["members"][1].update(calibration=None), "small: calibration lacks a curve for Mass"),
        (lambda m: m["members"][1].update(weight=0), "weight"),
        (lambda m: m["members"][1].update(variants={}), "small: expected variants of fp32, got "),
        (lambda m: m["members"][1]["variants"].update(fp32="x.onnx"), "small: variants.fp32 names 'x.onnx'"),
        (lambda m: m["members"][0]["labels"].remove("Hernia"), "none has the labels Hernia"),
        (lambda m: m["variants"]["fp32"].update(model="small.onnx"), "graphs at the members alone"),
        (lambda m: m["maps"]["graphs"].update(fp32="small.maps.onnx"), "graphs at the members, and only there"),
        (lambda m: m.update(members=None), "variants.fp32: expected model"),
    ],
)
def test_a_manifest_that_contradicts_itself_is_refused(ensemble, tmp_path, change, message):
    manifest = json.loads((ensemble[0] / "manifest.json").read_text())
    change(manifest)
    with pytest.raises(errors.BundleInvalid, match=message):
        read_bundle(changed(ensemble[0], manifest, tmp_path))


def changed(bundle, manifest, out):
    for path in bundle.iterdir():
        (out / path.name).symlink_to(path)
    (out / "manifest.json").unlink()
    (out / "manifest.json").write_text(json.dumps(manifest))
    return out
