"""Splits: no patient in two parts, ever; three schemes."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.training.conftest import NIH14
from training.data.nih import hash_of_table, read_dataset, read_table
from training.data.splits import PARTS, require_disjoint_patients, split_images
from training.errors import DataError
from training.recipe import Split


def table(patients, collections=None):
    collections = collections or ["NIH"] * len(patients)
    images = pd.DataFrame({"patient": patients, "official": "train_val", "collection": collections})
    images["image"] = [f"{i}.png" for i in range(len(images))]
    return images


def assert_divided(parts, count):
    assert tuple(parts) == PARTS
    assert sum(map(len, parts.values())) == count
    owners = [set(part["patient"]) for part in parts.values()]
    assert sum(map(len, owners)) == len(set.union(*owners))


@settings(deadline=None)
@given(
    st.lists(st.integers(0, 30), min_size=10, max_size=200),
    st.integers(0, 5),
    st.sampled_from(["official", "random-80-20"]),
)
def test_patients_stay_together(patients, seed, scheme):
    images = table([*patients, 100, 101, 102])
    images.loc[len(images)] = {"patient": 999, "official": "test", "collection": "NIH", "image": "x.png"}
    assert_divided(split_images(images, Split(scheme=scheme, validation=0.2, seed=seed)), len(images))


@pytest.mark.parametrize(("scheme", "share"), [("official", 0.0), ("random-80-20", 0.2)])
def test_the_shares(scheme, share):
    images = table(list(range(1000)))
    parts = split_images(images, Split(scheme=scheme, validation=0.1))
    assert len(parts["test"]) == 1000 * share
    assert len(parts["validation"]) == pytest.approx(100 * (1 - share), abs=1)


def test_a_whole_collection_can_be_held_out():
    images = table([1, 1, 2, 3, 4, 4], ["A", "B", "A", "B", "B", "B"])
    parts = split_images(images, Split(validation_collections=("A",)))
    assert parts["validation"]["image"].tolist() == ["0.png", "2.png"]
    assert parts["train"]["patient"].tolist() == [3, 4, 4], (
        "patient 1 has an image in A, so none of theirs is trained on"
    )
    with pytest.raises(DataError, match=r"no image of collection \['C'\]"):
        split_images(images, Split(validation_collections=("C",)))


def test_a_patient_in_two_parts_is_an_error():
    images = table([1, 2, 3, 1])
    images.loc[3, "official"] = "test"
    with pytest.raises(DataError, match="patient 1 stands in both"):
        split_images(images, Split(validation=0.5))
    require_disjoint_patients({"a": images[:2], "b": images[2:3]})


@pytest.fixture
def split_file(tmp_path):
    path = tmp_path / "split.csv"

    def write(*rows, header="image,split"):
        path.write_text("\n".join([header, *rows]) + "\n")
        return Split(scheme="file", file=str(path))

    return write


def test_a_users_own_split(split_file):
    images = table([1, 1, 2, 3, 4])
    parts = split_images(images, split_file("0.png,train", "1.png,train", "2.png,validation", "3.png,test"))
    assert {name: part["image"].tolist() for name, part in parts.items()} == {
        "train": ["0.png", "1.png"],
        "validation": ["2.png"],
        "test": ["3.png"],
    }


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (["0.png,train", "1.png,validation"], "patient 1 stands in both"),
        (["0.png,train", "2.png,holdout"], "holdout"),
        (["0.png,train", "0.png,train"], "twice"),
        (["0.png,train", "9.png,test"], "9.png"),
        (["0.png,train"], "no image for validation"),
    ],
)
def test_a_wrong_split_file_is_refused(split_file, rows, message):
    with pytest.raises(DataError, match=message):
        split_images(table([1, 1, 2]), split_file(*rows))


def test_a_split_file_needs_its_columns_and_to_be_there(split_file, tmp_path):
    with pytest.raises(DataError, match="lacking"):
        split_images(table([1, 2]), split_file("0.png,train", header="image,part"))
    with pytest.raises(DataError, match="expected a CSV"):
        split_images(table([1, 2]), Split(scheme="file", file=str(tmp_path / "none.csv")))
    (tmp_path / "split.xlsx").write_bytes(b"PK\x03\x04\xff\xfe")
    with pytest.raises(DataError, match="cannot be read as CSV"):
        split_images(table([1, 2]), Split(scheme="file", file=str(tmp_path / "split.xlsx")))


@pytest.mark.parametrize("scheme", ["official", "random-80-20"])
def test_the_full_table_is_divided_by_patient(nih, full_table, scheme):
    parts = split_images(full_table, Split(scheme=scheme, validation=0.1, seed=7))
    assert_divided(parts, 112_120)
    assert full_table["patient"].nunique() == 30_805
    share = {name: part["patient"].nunique() / 30_805 for name, part in parts.items()}
    if scheme == "official":
        assert len(parts["test"]) == 25_596
    else:
        assert share["test"] == pytest.approx(0.2, abs=1e-3)
        assert share["validation"] == pytest.approx(0.08, abs=1e-3)
    again = split_images(full_table.sample(frac=1, random_state=1), Split(scheme=scheme, validation=0.1, seed=7))
    assert {name: hash_of_table(part, NIH14.names) for name, part in again.items()} == {
        name: hash_of_table(part, NIH14.names) for name, part in parts.items()
    }, "the split follows from the patients, not from the order of rows"


@pytest.fixture(scope="module")
def full_table(nih, tmp_path_factory):
    root = tmp_path_factory.mktemp("full")
    for name in ("Data_Entry_2017_v2020.csv.gz", "official_test_list.txt.gz"):
        (root / name).write_bytes((nih / name).read_bytes())
    return read_table(root, NIH14)


def test_the_subset_can_be_held_out_by_collection(nih):
    images = read_dataset(nih, NIH14)
    parts = split_images(images, Split(validation_collections=("A",)))
    assert set(parts["validation"]["collection"]) == {"A"}
    assert "A" not in set(parts["train"]["collection"])
    assert len(np.intersect1d(parts["train"]["patient"], parts["validation"]["patient"])) == 0
