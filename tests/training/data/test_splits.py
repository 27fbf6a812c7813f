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
    with pytest.raises(DataError, match="no image is of collection C; there are A, B"):
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


def test_parts_of_the_training_images_lie_within_each_other():
    images = table([patient for patient in range(60) for _ in range(1 + patient % 4)])
    whole = split_images(images, Split(validation=0.2))
    small, large = (split_images(images, Split(validation=0.2, train_images=most, train_seed=3)) for most in (20, 60))
    names = [set(part["train"]["image"]) for part in (small, large, whole)]
    assert names[0] < names[1] < names[2]
    assert [len(found) for found in names[:2]] == [pytest.approx(20, abs=3), pytest.approx(60, abs=3)]
    for part in ("validation", "test"):
        assert small[part].equals(whole[part])
    for patient in small["train"]["patient"].unique():
        assert (small["train"]["patient"] == patient).sum() == (images["patient"] == patient).sum()
    other = split_images(images, Split(validation=0.2, train_images=20, train_seed=4))
    assert set(other["train"]["image"]) != names[0]
    with pytest.raises(DataError, match="no image for train"):
        split_images(table([0] * 9 + [1] * 9), Split(validation=0.5, train_images=2))


@pytest.fixture(scope="module")
def merged(nih) -> pd.DataFrame:
    """The tables of both folders one below the other, as they are laid together for training."""
    more = nih.parent / "nih-more"
    if not more.is_dir():
        pytest.skip("needs more of NIH ChestX-ray14 beside the repository (shared/data/nih-more)")
    folders = [read_table(root, NIH14).assign(folder=root.name) for root in (nih, more)]
    return pd.concat(folders, ignore_index=True)


@pytest.mark.parametrize("seed", [0, 1])
def test_patients_with_images_in_two_folders_stay_together(merged, seed):
    """Hundreds of patients of one folder have images in the other: these are never on two sides."""
    in_both = set(merged["patient"][merged["folder"] == "nih"]) & set(merged["patient"][merged["folder"] == "nih-more"])
    assert len(in_both) > 400
    parts = split_images(merged, Split(seed=seed))
    assert_divided(parts, len(merged))
    assert all(in_both & set(part["patient"]) for part in parts.values())


def test_validation_contains_every_collection_and_natural_images_in_their_own_mixture(merged):
    parts = split_images(merged, Split())
    counts = parts["validation"]["collection"].value_counts()
    assert set(counts.index) == set(parts["train"]["collection"])
    shares = {
        name: part[part["collection"] == "G"]["No Finding"].mean() for name, part in parts.items() if name != "test"
    }
    assert counts["G"] > 1000
    assert shares["validation"] == pytest.approx(shares["train"], abs=0.05)
