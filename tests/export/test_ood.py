"""The out-of-distribution rule, fitted anew on NIH's images: it is the shipped one, with its figures."""

import json
import shutil

import numpy as np
import pytest

from cxr_edge.model.bundle import SHIPPED, read_bundle
from export.card import measured
from export.errors import ExportError
from export.ood import add_rule
from tests.conftest import SAMPLES
from training.data.nih import read_dataset
from training.evaluation.report import card_figures
from training.labels import LabelSet

LABELS = LabelSet.of(read_bundle().manifest.labels)


@pytest.fixture
def without_rule(tmp_path):
    root = shutil.copytree(SHIPPED, tmp_path / "bundle")
    manifest = json.loads((root / "manifest.json").read_text())
    del manifest["out_of_distribution"]
    (root / "manifest.json").write_text(json.dumps(manifest))
    return root


def test_the_shipped_rule_is_what_the_command_fits(all_images, without_rule):
    shipped = read_bundle().manifest.out_of_distribution
    rule = add_rule(
        without_rule,
        read_dataset(all_images, LABELS),
        {"samples": SAMPLES[0].parent},
        look_at_test=False,
    )
    np.testing.assert_allclose(rule.weights, shipped.weights, rtol=1e-3, atol=1e-5)
    assert rule.bias == pytest.approx(shipped.bias, abs=0.01)
    for part in ("validation", "validation, the kind left out of the fit"):
        for kind, counts in rule.figures[part].items():
            assert counts["pictures"] == shipped.figures[part][kind]["pictures"]
            assert counts["warned"]["value"] == pytest.approx(shipped.figures[part][kind]["warned"]["value"], abs=0.02)
    assert "test" not in rule.figures
    assert rule.figures["elsewhere"]["samples"]["pictures"] == len(SAMPLES)
    written = read_bundle(without_rule)
    assert written.manifest.out_of_distribution == rule
    card = written.files["MODEL_CARD.md"].decode()
    assert "| elsewhere | samples |" in card
    assert measured(written) == measured(read_bundle())
    assert card_figures(**measured(written)) in card


def test_a_folder_with_a_broken_image_is_refused(all_images, without_rule, tmp_path):
    (tmp_path / "others").mkdir()
    (tmp_path / "others" / "broken.png").write_bytes(SAMPLES[0].read_bytes()[:1000])
    before = (without_rule / "manifest.json").read_bytes()
    with pytest.raises(ExportError, match=r"broken\.png: .*take it out of the folder"):
        add_rule(
            without_rule,
            read_dataset(all_images, LABELS),
            {"others": tmp_path / "others"},
            look_at_test=False,
        )
    assert (without_rule / "manifest.json").read_bytes() == before
