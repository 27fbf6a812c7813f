"""What an evaluation computes: each image is read once, each TTA variant of it computed once."""

from collections import Counter
from dataclasses import replace

import msgspec
import numpy as np
import pandas as pd
import pytest

from cxr_edge.errors import HeatmapUnavailable
from cxr_edge.images import decoding
from cxr_edge.model.bundle import read_bundle
from cxr_edge.model.model import Model
from tests.conftest import SAMPLES
from training.errors import DataError
from training.evaluation.evaluate import Extras, evaluate
from training.evaluation.predictions import predict_images
from training.evaluation.resampling import Bootstrap

CHOSEN = SAMPLES[:4]
TABLE = pd.DataFrame({"image": [path.name for path in CHOSEN], "path": CHOSEN})


@pytest.fixture
def counted(monkeypatch) -> tuple[list[str], list[tuple[str, object]]]:
    """Record what is decoded, by its hash, and what the network computes, by image and variant."""
    decoded: list[str] = []
    computed: list[tuple[str, object]] = []
    decode, run = decoding.decode, Model._run

    def decode_and_count(*arguments, **options):
        image = decode(*arguments, **options)
        decoded.append(image.sha256)
        return image

    def run_and_count(self, shown, variants, **wanted):
        computed.extend((pixels.tobytes(), variant) for pixels in shown.values() for variant in variants)
        return run(self, shown, variants, **wanted)

    monkeypatch.setattr(decoding, "decode", decode_and_count)
    monkeypatch.setattr(Model, "_run", run_and_count)
    return decoded, computed


def assert_each_once(counted, model: Model) -> None:
    decoded, computed = counted
    assert len(decoded) == len(set(decoded)) == len(CHOSEN)
    times = Counter(computed)
    assert len(times) == len(CHOSEN) * len(model.manifest.tta.variants)
    assert set(times.values()) == {1}


def test_each_image_is_read_once_and_each_variant_computed_once(model, counted):
    found = predict_images(model, TABLE, np.array([True, False, True, False]))
    assert_each_once(counted, model)
    assert [evaluation.maps is not None for evaluation in found.evaluations] == [True, False, True, False]
    for row, path in enumerate(CHOSEN):
        for mode in ("single", "tta"):
            expected = model.predict(path, tta=mode == "tta")
            np.testing.assert_allclose(found.calibrated[mode][row], expected.values, rtol=0, atol=1e-5)


def test_a_whole_evaluation_with_boxes_takes_no_more(model, counted, tmp_path):
    boxes = tmp_path / "boxes.csv"
    finding = model.manifest.finding_names[0]
    rows = [f"{path.name},{finding},300,300,400,400\n" for path in CHOSEN[1:3]]
    boxes.write_text("".join(["image,finding,x,y,w,h\n", *rows]))
    marks = {name: [1.0, 0.0, 1.0, 0.0] for name in model.manifest.label_names}
    images = TABLE.assign(
        patient=range(4), age=50, sex="F", view="PA", collection="A", markers_blacked=False, side=512, **marks
    )
    report = evaluate(read_bundle(), images, "csv", "other images", Extras(boxes), Bootstrap(20, jobs=1))
    assert report["localisation"]["cases"] == 2
    assert set(report["adaptive"]) == set(model.manifest.operating_points)
    assert_each_once(counted, model)


def test_raw_scores_are_those_before_calibration(model, uncalibrated):
    found = predict_images(model, TABLE)
    for mode in ("single", "tta"):
        expected = [uncalibrated.predict(path, tta=mode == "tta").values for path in CHOSEN]
        np.testing.assert_allclose(found.raw[mode], expected, rtol=0, atol=1e-6)
        assert np.abs(found.raw[mode] - found.calibrated[mode]).max() > 0.01


def test_an_image_that_cannot_be_read_costs_itself_alone(model, tmp_path):
    (tmp_path / "broken.png").write_bytes(CHOSEN[0].read_bytes()[:5000])
    broken = {"image": "broken.png", "path": tmp_path / "broken.png"}
    found = predict_images(model, pd.concat([TABLE[:1], pd.DataFrame([broken]), TABLE[1:2]]))
    assert found.table["image"].tolist() == [CHOSEN[0].name, CHOSEN[1].name]
    assert [(row["image"], row["code"]) for row in found.unreadable] == [("broken.png", "truncated")]
    with pytest.raises(DataError, match=r"none of the 1 images can be read; the first, broken\.png"):
        predict_images(model, pd.DataFrame([broken]))


def test_a_bundle_without_maps_is_evaluated_and_refuses_to_compute_maps():
    bundle = read_bundle()
    bare = Model(replace(bundle, manifest=msgspec.structs.replace(bundle.manifest, maps=None)), "cpu")
    found = predict_images(bare, TABLE[:1])
    assert found.raw["tta"].shape == (1, len(bare.labels))
    with pytest.raises(HeatmapUnavailable):
        predict_images(bare, TABLE[:1], np.array([True]))
