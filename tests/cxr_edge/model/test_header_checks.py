"""Header checks: what a header states against the features of the image, and a patient's age; no value is repeated."""

import json

import numpy as np
import pytest

import cxr_edge
from benchmarks.dicom import dicom_files
from cxr_edge.errors import AgeOutsideTraining, BundleInvalid
from cxr_edge.images import read_image
from cxr_edge.images.dicom.header.stated import Stated
from cxr_edge.images.limits import InputLimits
from cxr_edge.model.header_checks import HeaderChecks, HeaderRule
from tests.bundles import make_bundle
from tests.conftest import SAMPLES

CHANNELS = 1280
#: A rule by which every image contradicts what its header states, and one by which none does.
ALWAYS, NEVER = (1.0, -1.0), (-1.0, 1.0)


def rule(values, limits):
    return {"values": values, "weights": [0.0] * CHANNELS, "limits": limits, "false_alarms": 0.02, "fitted_on": "x"}


def bundle_with(out, **checks):
    make_bundle(out, {name: {} for name in ("Mass", "Effusion", "No Finding")})
    manifest = json.loads((out / "manifest.json").read_text())
    (out / "manifest.json").write_text(json.dumps(manifest | {"header_checks": checks}))
    return out


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return bundle_with(
        tmp_path_factory.mktemp("bundle") / "checked",
        view=rule(["PA", "AP"], ALWAYS),
        sex=rule(["F", "M"], NEVER),
        age={"least": 8, "most": 85, "fitted_on": "x"},
    )


@pytest.fixture(scope="module")
def checked(bundle):
    return cxr_edge.load(bundle, device="cpu", threads=1)


def image(**attributes):
    return dicom_files.written(dicom_files.image(read_image(SAMPLES[0]).pixels, **attributes))


def codes(result):
    return [warning.code for warning in result.warnings if "header" in warning.code or "age" in warning.code]


@pytest.mark.parametrize("how", [{"tta": False}, {"tta": True}, {"adaptive": True}])
def test_a_contradiction_is_warned_of_and_no_doubt_of_the_image(checked, how):
    result = checked.predict(image(ViewPosition="PA", PatientSex="F"), **how)
    assert codes(result) == ["view_contradicts_header"]
    assert not result.doubts
    (message,) = [str(warning) for warning in result.warnings if warning.code == "view_contradicts_header"]
    assert "the view in its header" in message


@pytest.mark.parametrize("attributes", [{"ViewPosition": ""}, {"ViewPosition": "PORTABLE"}])
def test_what_a_header_does_not_state_is_not_compared(checked, attributes):
    assert codes(checked.predict(image(**attributes))) == []
    assert codes(checked.predict(SAMPLES[0])) == []


@pytest.mark.filterwarnings("ignore:Invalid value for VR AS")
@pytest.mark.parametrize(
    ("age", "outside"),
    [("008Y", False), ("085Y", False), ("007Y", True), ("086Y", True), ("095M", True), ("096M", False), ("003W", True),
     ("010D", True), ("", False), ("8", False), ("ABCY", False)],
)  # fmt: skip
def test_an_age_beyond_the_training_images_is_warned_of_without_it(checked, age, outside):
    result = checked.predict(image(ViewPosition="", PatientAge=age))
    assert codes(result) == ["age_outside_training"] * outside
    if outside:
        assert [warning.code for warning in result.doubts] == ["age_outside_training"]
        assert all(age not in str(warning) for warning in result.warnings)


def test_it_is_refused_with_strict(bundle):
    strict = cxr_edge.load(bundle, device="cpu", threads=1, limits=InputLimits(strict=True))
    with pytest.raises(AgeOutsideTraining, match="8 to 85 years"):
        strict.predict(image(PatientAge="004Y"))
    assert codes(strict.predict(image(PatientAge="040Y", ViewPosition="AP"))) == ["view_contradicts_header"]


def test_a_rule_compares_by_its_two_limits():
    found = HeaderRule(("F", "M"), (1.0, 0.0), (-2.0, 3.0), 0.02, "x")
    for stated, score, contradicts in (("F", 3.1, True), ("F", 2.9, False), ("M", -2.1, True), ("M", -1.9, False),
                                       ("F", -9, False), ("M", 9, False), (None, 9, False)):  # fmt: skip
        assert found.contradicts(stated, found.score(np.array([score, 7.0]))) is contradicts


def test_features_are_asked_for_where_a_rule_needs_them():
    checks = HeaderChecks(sex=HeaderRule(("F", "M"), (1.0,), (0, 1), 0.02, "x"))
    assert checks.need_features(Stated(None, "F", None))
    assert not checks.need_features(Stated("PA", None, 40))


def test_what_a_header_states_is_never_printed():
    assert repr(Stated("PA", "F", 71)) == "<what a header states of its patient>"


def test_weights_of_another_network_are_refused(tmp_path):
    wrong = rule(["PA", "AP"], NEVER) | {"weights": [0.0] * 3}
    with pytest.raises(cxr_edge.errors.BundleTensors, match=r"header_checks\.view: expected 1280 weights"):
        cxr_edge.load(bundle_with(tmp_path / "wrong", view=wrong), device="cpu")
    with pytest.raises(BundleInvalid, match="header_checks"):
        cxr_edge.load(bundle_with(tmp_path / "none", view={**wrong, "weights": []}), device="cpu")
