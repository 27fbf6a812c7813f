"""Out-of-distribution images: chest radiographs pass, other images get a warning with their score."""

import json
import re
import shutil
from collections.abc import Callable

import cv2
import numpy as np
import pytest

import cxr_edge
from benchmarks.dicom import dicom_files
from cxr_edge import errors
from cxr_edge.model.bundle import SHIPPED

OTHERS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "on its left side": lambda image: np.rot90(image),
    "on its right side": lambda image: np.rot90(image, -1),
    "upside down": lambda image: np.rot90(image, 2),
    "inverted": lambda image: 255 - image,
    "a corner of it": lambda image: image[:340, :340],
    "noise": lambda image: np.random.default_rng(0).integers(0, 256, image.shape, np.uint8),
    "a gradient": lambda image: np.tile(np.linspace(0, 255, image.shape[1]).astype(np.uint8), (image.shape[0], 1)),
    "text": lambda image: cv2.putText(np.zeros_like(image), "no image", (100, 500), 0, 6, 255, 20),
}


def scores_in(result) -> list[float]:
    """Return the out-of-distribution scores in the warnings of a result."""
    return [
        float(score)
        for score in re.findall(r"out-of-distribution score (-?[\d.]+)", " ".join(map(str, result.warnings)))
    ]


def test_images_of_the_training_collection_pass(model, sample):
    assert not scores_in(model.predict(sample))


@pytest.mark.parametrize("other", OTHERS)
def test_other_than_an_upright_chest_radiograph_is_warned_of(model, image, other):
    result = model.predict(np.ascontiguousarray(OTHERS[other](image)), tta=False)
    (score,) = scores_in(result)
    assert score >= 0
    assert result.ood_score == pytest.approx(score, abs=0.06)
    assert [warning.code for warning in result.warnings] == ["out_of_distribution"]
    assert f" Warning: {result.doubts[0]}. Research tool" in str(result)


def test_another_hospitals_chest_passes_and_an_ankle_does_not(model):
    assert not scores_in(model.predict(dicom_files.CHEST, tta=False))
    assert scores_in(model.predict(dicom_files.ANKLE, tta=False))


def test_the_score_is_of_the_unchanged_image_whatever_the_variants(model, image):
    inverted = 255 - image
    scores = [
        scores_in(model.predict(inverted, **options))
        for options in ({"tta": False}, {"tta": True}, {"adaptive": True}, {"tta": False, "heatmaps": True})
    ]
    assert scores[0]
    assert all(score == scores[0] for score in scores)


@pytest.fixture
def bundle(tmp_path):
    return shutil.copytree(SHIPPED, tmp_path / "bundle")


def edited(bundle, change) -> None:
    manifest = json.loads((bundle / "manifest.json").read_text())
    change(manifest)
    (bundle / "manifest.json").write_text(json.dumps(manifest))


def test_a_bundle_without_the_rule_warns_of_nothing(bundle, image):
    edited(bundle, lambda manifest: manifest.pop("out_of_distribution"))
    assert not scores_in(cxr_edge.load(bundle, device="cpu").predict(255 - image, tta=False))


def test_a_rule_for_another_network_is_refused(bundle):
    edited(bundle, lambda manifest: manifest["out_of_distribution"]["weights"].pop())
    with pytest.raises(errors.BundleTensors, match="expected 1280 weights"):
        cxr_edge.load(bundle, device="cpu")
