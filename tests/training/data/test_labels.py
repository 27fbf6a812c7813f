"""Label sets: the shipped one, one from a file, and files that are not label sets."""

import json

import pytest

from cxr_edge.model.bundle import read_bundle
from tests.training.conftest import FIVE, NIH14
from training.errors import RecipeError
from training.labels import FOLDER, LabelSet, aliases, read_labels
from training.recipe import RECIPES, read_recipe


def test_the_shipped_set_is_that_of_the_shipped_bundle():
    assert read_labels("nih14") == NIH14
    assert read_bundle().manifest.labels == NIH14.records
    assert all(read_labels(read_recipe(path).labels) == NIH14 for path in RECIPES.glob("*.toml"))


def test_findings_and_normal_labels_differ_by_their_role():
    assert NIH14.normal == ("No Finding",)
    for labels in (NIH14, FIVE):
        assert set(labels.findings) | set(labels.normal) == set(labels.names)
        assert len(labels) == len(labels.names) == len(labels.findings) + len(labels.normal)
        assert tuple(labels.names[column] for column in labels.finding_columns) == labels.findings


def test_aliases_stand_for_labels_of_the_set():
    known = json.loads((FOLDER / "aliases.json").read_text())
    assert set(known) == {"chexpert", "nih-boxes"}
    for data_set in known:
        assert set(aliases(data_set).values()) <= set(NIH14.names)


def test_a_set_is_read_from_a_file(five_labels):
    found = read_labels(str(five_labels))
    assert found == FIVE
    assert (len(found), found.finding_columns) == (5, [0, 2, 3, 4])
    assert LabelSet.of(list(found.records)) == found


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Mass, Nodule", "malformed"),
        ('{"name": "Mass"}', "Expected `array`"),
        ('[{"display": {"en": "Mass"}}]', "missing required field `name`"),
        ('[{"name": "Mass|Nodule"}]', "matching regex"),
        ('[{"name": "Mass", "role": "illness"}]', "Invalid enum value 'illness'"),
        ('[{"name": "Mass"}, {"name": "Nodule"}, {"name": "Mass"}]', "expected distinct names"),
        ('[{"name": "Healthy", "role": "normal"}]', "of the role 'finding'"),
        ('[{"name": "Mass\\n"}]', "matching regex"),
        ('[{"name": "Age"}]', "'Age' is that of another column"),
        ('[{"name": "status"}]', "'status' is that of another column"),
        ("[]", "of the role 'finding'"),
        ('[{"name": "Mass"}, {"name": "mass"}]', "Mass and mass have the same code MASS of 99CXREDGE"),
    ],
)
def test_what_is_not_a_label_set_is_refused(tmp_path, text, message):
    (tmp_path / "own.json").write_text(text)
    with pytest.raises(RecipeError, match=message) as refusal:
        read_labels(str(tmp_path / "own.json"))
    assert "own.json" in str(refusal.value)


@pytest.mark.parametrize("source", ["nih15", "", "own.json", "."])
def test_a_missing_set_is_answered_with_the_known_ones(source):
    with pytest.raises(RecipeError, match=rf"expected one of nih14, or a JSON file, got '{source}'"):
        read_labels(source)


def test_the_aliases_are_not_a_label_set():
    with pytest.raises(RecipeError, match=r"aliases\.json"):
        read_labels("aliases")
