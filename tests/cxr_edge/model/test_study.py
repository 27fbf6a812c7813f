"""Studies: each image by the model of its view, merged by the rule that is documented; mechanics alone."""

import json

import numpy as np
import pytest
from pydicom.uid import generate_uid

import cxr_edge
from benchmarks.dicom import dicom_files
from cxr_edge.errors import UnknownOperatingPoint
from cxr_edge.images import read_image
from tests.bundles import make_bundle
from tests.conftest import SAMPLES

FIRST, SECOND = generate_uid(), generate_uid()


def image(sample, study=FIRST, view="PA"):
    """Make a file of a study."""
    pixels = read_image(SAMPLES[sample]).pixels
    return dicom_files.written(dicom_files.image(pixels, StudyInstanceUID=study, ViewPosition=view))


@pytest.fixture(scope="module")
def lateral(tmp_path_factory):
    """A model of lateral images, with two of the shipped one's labels."""
    root = tmp_path_factory.mktemp("lateral") / "bundle"
    make_bundle(root, {"Effusion": {}, "No Finding": {}})
    manifest = json.loads((root / "manifest.json").read_text())
    (root / "manifest.json").write_text(json.dumps(manifest | {"view": "lateral"}))
    return cxr_edge.load(root, device="cpu", threads=1)


def log_odds(probability):
    return np.log(probability / (1 - probability))


def test_a_study_of_one_image_has_its_result(model):
    alone = model.predict(image(0))
    (study,) = cxr_edge.predict_study(model, [image(0)])
    assert study.study == FIRST
    assert study.probabilities == alone.probabilities
    assert [(f.label, f.probability, f.positive) for f in study.findings] == [
        (f.label, f.probability, f.positive) for f in alone.findings
    ]


def test_a_finding_is_reported_from_the_limit_of_the_model_that_its_threshold_is_of(model, tmp_path):
    """The first model reports nothing below .5, and does not know the label of the second."""
    roots = []
    for name, least in (("Effusion", 0.5), ("Mass", 0.0)):
        roots.append(tmp_path / name)
        make_bundle(roots[-1], {name: {}})
        manifest = json.loads((roots[-1] / "manifest.json").read_text())
        points = manifest["operating_points"].values()
        for thresholds in (point[mode]["thresholds"] for point in points for mode in ("single", "tta")):
            thresholds[name] = max(least, 1e-6)
        views = {"Effusion": "frontal", "Mass": "lateral"}
        changed = manifest | {"min_probability": least, "view": views[name]}
        (roots[-1] / "manifest.json").write_text(json.dumps(changed))
    models = [cxr_edge.load(root, device="cpu", threads=1) for root in roots]
    (study,) = cxr_edge.predict_study(models, [image(0), image(1, view="LL")])
    assert study.probabilities["Mass"] < 0.5
    assert ("Mass", True) in [(finding.label, finding.positive) for finding in study.findings]


def test_studies_are_told_apart_in_any_order(model):
    """Files, data sets and bytes; the order is that of the first images."""
    sources = [image(0, SECOND), image(1), image(2, SECOND), image(3)]
    first, second = cxr_edge.predict_study(model, sources)
    assert (first.study, second.study) == (SECOND, FIRST)
    assert [len(study.images) for study in (first, second)] == [2, 2]
    shas = [[one.result.sha256 for one in study.images] for study in (first, second)]
    expected = [model.predict(source).sha256 for source in sources]
    assert shas == [expected[::2], expected[1::2]]


def test_log_odds_are_averaged_within_views_and_then_over_them(model, lateral):
    frontal = [image(0), image(1), image(2)]
    side = image(3, view="LL")
    (study,) = cxr_edge.predict_study([model, lateral], [*frontal, side])
    assert [one.view for one in study.images] == ["frontal"] * 3 + ["lateral"]
    of_frontal = [model.predict(data).probabilities for data in frontal]
    of_side = lateral.predict(side).probabilities
    mean = {label: np.mean([log_odds(one[label]) for one in of_frontal]) for label in of_frontal[0]}
    both = {label: (mean[label] + log_odds(of_side[label])) / 2 for label in of_side}
    expected = mean | both
    assert set(study.probabilities) == set(expected)
    for label, value in expected.items():
        assert log_odds(study.probabilities[label]) == pytest.approx(value, abs=1e-6), label
    (effusion,) = (finding for finding in study.findings if finding.label == "Effusion")
    assert effusion.threshold == model.manifest.thresholds("max_f1", "tta")["Effusion"]
    assert all(finding.positive == (finding.probability >= finding.threshold) for finding in study.findings)


def test_a_view_without_a_model_costs_that_image_alone(model, lateral):
    (study,) = cxr_edge.predict_study(model, [image(0), image(1, view="LL")])
    assert study.probabilities == model.predict(image(0)).probabilities
    assert study.images[1].result.code == "lateral_view"
    (study,) = cxr_edge.predict_study(lateral, [image(0)])
    assert (study.ok, study.findings, study.images[0].result.code) == (False, (), "frontal_view")
    assert study.study == FIRST


def test_what_names_no_study_stands_alone(model):
    broken = image(1)[:2000]
    found = cxr_edge.predict_study(model, [SAMPLES[0], broken, image(2)])
    assert [study.study for study in found] == [None, None, FIRST]
    assert [study.ok for study in found] == [False, False, True]
    assert found[0].images[0].result.code == "not_dicom"
    assert found[0].images[0].result.path == str(SAMPLES[0])


def test_a_study_is_written_as_json(model):
    (study,) = cxr_edge.predict_study(model, [image(0), image(1)])
    written = json.loads(json.dumps(study.to_dict()))
    assert written["study"] == FIRST
    assert [one["record"]["status"] for one in written["images"]] == ["ok", "ok"]
    assert written["findings"][0]["label"] == study.findings[0].label


def test_wrong_choices_are_refused_before_anything_is_read(model):
    with pytest.raises(ValueError, match="at least one model"):
        cxr_edge.predict_study([], [])
    with pytest.raises(UnknownOperatingPoint):
        cxr_edge.predict_study(model, [], operating_point="none")
