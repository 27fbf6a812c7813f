"""Early exit: where the first variants are clear they decide alone, and as all variants would."""

import json
from dataclasses import replace

import msgspec
import numpy as np
import pytest

import cxr_edge
from cxr_edge import errors
from cxr_edge.model.bundle import Bundle, read_bundle
from cxr_edge.model.early_exit import EarlyExit
from cxr_edge.model.manifest import parse_manifest
from tests.conftest import SAMPLES
from tests.cxr_edge.cli.test_cli import lines_of, run

RULE = EarlyExit((0, 3), {"a": 0.1, "b": 1.0}, "")
THRESHOLDS = {"a": 0.5, "b": 0.2}
FINDINGS = read_bundle().manifest.finding_names


def with_margins(bundle: Bundle, margin: float | None) -> Bundle:
    """Return a bundle whose findings all have that margin at every operating point; None: no rule."""
    points = {
        name: msgspec.structs.replace(
            point,
            adaptive=margin if margin is None else EarlyExit((0, 3), dict.fromkeys(FINDINGS, margin), "nothing"),
        )
        for name, point in bundle.manifest.operating_points.items()
    }
    return replace(bundle, manifest=msgspec.structs.replace(bundle.manifest, operating_points=points))


@pytest.mark.parametrize(
    ("probabilities", "decided"),
    [
        ((0.6, 0.9, 0.5), True),  # labels without a margin decide nothing
        ((0.51, 0.9, 0.5), False),
        ((0.6, 0.3, 0.5), False),
        ((0.4, 0.05, 0.5), True),
        ((0.0, 1.0, 0.5), True),
    ],
)
def test_every_finding_must_lie_beyond_its_margin(probabilities, decided):
    assert RULE.decided(np.array(probabilities), ("a", "b", "No Finding"), THRESHOLDS) is decided


@pytest.mark.slow
def test_the_shipped_rules_decide_the_samples_nearly_as_all_variants_do(model):
    """One decision in a thousand may differ."""
    agreed = []
    for point in model.manifest.operating_points:
        for image in SAMPLES:
            adaptive = model.predict(image, adaptive=True, operating_point=point)
            full = model.predict(image, tta=True, operating_point=point)
            assert adaptive.tta_mode == "adaptive"
            assert adaptive.variants in (2, 6)
            calls = [
                {
                    label: result.probabilities[label] >= threshold
                    for label, threshold in model.manifest.thresholds(point, "tta").items()
                    if label in FINDINGS
                }
                for result in (adaptive, full)
            ]
            agreed += [calls[0][label] == called for label, called in calls[1].items()]
    assert len(agreed) == len(model.manifest.operating_points) * len(SAMPLES) * len(FINDINGS)
    assert agreed.count(False) <= 1


def test_some_samples_need_two_variants_and_some_all(model):
    assert {model.predict(image, adaptive=True, operating_point="youden").variants for image in SAMPLES} == {2, 6}


def test_without_margin_two_variants_are_enough(image_path):
    model = cxr_edge.Model(with_margins(read_bundle(), 0.0), "cpu")
    adaptive = model.predict(image_path, adaptive=True, heatmaps=True)
    assert adaptive.variants == 2
    assert adaptive.findings[0].std is not None
    manifest = model.manifest
    variants = (manifest.tta.variants[0], manifest.tta.variants[3])
    pair = msgspec.structs.replace(manifest, tta=msgspec.structs.replace(manifest.tta, variants=variants))
    of_two = cxr_edge.Model(replace(read_bundle(), manifest=pair), "cpu").predict(image_path, tta=True, heatmaps=True)
    np.testing.assert_allclose(adaptive.values, of_two.values, atol=1e-6)
    np.testing.assert_allclose(adaptive.maps, of_two.maps, rtol=1e-3, atol=1e-5)


def test_with_a_wide_margin_it_is_all_variants(image_path):
    model = cxr_edge.Model(with_margins(read_bundle(), 50.0), "cpu")
    adaptive = model.predict(image_path, adaptive=True, heatmaps=True)
    full = model.predict(image_path, tta=True, heatmaps=True)
    assert adaptive.variants == 6
    np.testing.assert_allclose(adaptive.values, full.values, atol=1e-6)
    np.testing.assert_allclose(adaptive.maps, full.maps, rtol=1e-3, atol=1e-5)
    assert adaptive.findings[0].std == pytest.approx(full.findings[0].std, abs=1e-6)


def test_a_bundle_without_the_rule_is_refused(image_path):
    model = cxr_edge.Model(with_margins(read_bundle(), None), "cpu")
    with pytest.raises(errors.UnknownOperatingPoint, match="when to stop early"):
        model.predict(image_path, adaptive=True)


def test_one_variant_cannot_be_adaptive(model, image_path):
    with pytest.raises(ValueError, match="adaptive"):
        model.predict(image_path, tta=False, adaptive=True)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"first": [0, 6]}, "below 6"),
        ({"first": [0, 0]}, "distinct"),
        ({"first": [1, 3]}, "unchanged image"),
        ({"first": []}, "first"),
        ({"margins": {}}, "lacks a margin"),
        ({"margins": {**dict.fromkeys(FINDINGS, 0.1), "Gout": 0.1}}, "not among the findings"),
        ({"margins": dict.fromkeys(FINDINGS, -0.1)}, "margins"),
    ],
)
def test_a_rule_that_cannot_be_is_refused(change, message):
    source = json.loads(json.dumps(read_bundle().manifest.source))
    source["operating_points"]["max_f1"]["adaptive"].update(change)
    with pytest.raises(errors.BundleInvalid, match=message):
        parse_manifest(json.dumps(source).encode())


def test_on_the_command_line(tmp_path):
    out = tmp_path / "out"
    done = run(*SAMPLES[:3], "--adaptive", "--json", "--out", out)
    assert done.returncode == 0, done.stderr
    assert {line["tta_mode"] for line in lines_of(done.stdout)} == {"adaptive"}
    assert {line["variants"] for line in lines_of(done.stdout)} <= {2, 6}
    assert json.loads((out / "run.json").read_text())["tta_mode"] == "adaptive"
    assert run(*SAMPLES[:3], "--tta", "--json", "--out", out).returncode == 2, "another identity"


def test_it_contradicts_one_variant_on_the_command_line():
    done = run(SAMPLES[0], "--adaptive", "--no-tta")
    assert done.returncode == 2
    assert "--no-tta" in done.stderr
