"""NIH's tables: both layouts, the full label table, and its counts."""

import shutil
from pathlib import Path

import pytest

from tests.conftest import SAMPLES
from tests.training.conftest import NIH14
from training.data.nih import read_dataset, read_table
from training.errors import DataError

HEADER = (
    "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
    "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y]\n"
)


def nih_layout(root: Path, rows: list[tuple[str, str, int]], test: list[str]) -> Path:
    (root / "images_001" / "images").mkdir(parents=True)
    for name, _, _ in rows:
        shutil.copy(SAMPLES[0], root / "images_001" / "images" / name)
    table = "".join(f"{name},{labels},0,{patient},50,F,PA,1,1,.1,.1\n" for name, labels, patient in rows)
    (root / "Data_Entry_2017_v2020.csv").write_text(HEADER + table)
    (root / "test_list.txt").write_text("\n".join([*test, "other.png"]) + "\n")
    return root


@pytest.fixture
def small(tmp_path):
    rows = [("1_0.png", "Mass|Nodule", 1), ("1_1.png", "No Finding", 1), ("2_0.png", "Pleural_Thickening", 2)]
    return nih_layout(tmp_path, rows, ["2_0.png"])


def test_nih_layout(small):
    table = read_dataset(small, NIH14)
    assert table["official"].tolist() == ["train_val", "train_val", "test"]
    assert table["patient"].tolist() == [1, 1, 2]
    assert all(path.is_file() for path in table["path"])
    assert table.set_index("image")[list(NIH14.names)].sum(axis=1).tolist() == [2, 1, 1]


def test_images_that_are_not_there_are_left_out(small):
    (small / "images_001" / "images" / "1_1.png").unlink()
    with pytest.warns(UserWarning, match="2 of the table's 3 images"):
        assert read_dataset(small, NIH14)["image"].tolist() == ["1_0.png", "2_0.png"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda root: (root / "Data_Entry_2017_v2020.csv").unlink(), "expected labels.csv or Data_Entry"),
        (lambda root: (root / "test_list.txt").unlink(), "test_list"),
        (lambda root: shutil.rmtree(root / "images_001"), "unpack the images"),
    ],
)
def test_an_incomplete_data_set_is_refused(small, change, message):
    change(small)
    with pytest.raises(DataError, match=message):
        read_dataset(small, NIH14)


@pytest.mark.parametrize(
    ("labels", "message"),
    [("Gout", "unknown labels"), ("Mass|No Finding", "beside a finding"), ("", "1_0.png has no labels")],
)
def test_unknown_contradictory_or_absent_labels_are_refused(tmp_path, labels, message):
    with pytest.raises(DataError, match=message):
        read_dataset(nih_layout(tmp_path, [("1_0.png", labels, 1)], []), NIH14)


def test_the_subset(nih):
    table = read_dataset(nih, NIH14)
    assert table["official"].value_counts().to_dict() == {"train_val": 1897, "test": 579}
    assert table.loc[table["official"] == "test", "No Finding"].sum() == 16
    assert table["Pneumonia"].sum() == 525


def test_the_full_label_table(nih, tmp_path):
    """The counts of all 112,120 images are NIH's own; see also Wang et al. 2017."""
    for name in ("Data_Entry_2017_v2020.csv.gz", "official_test_list.txt.gz"):
        shutil.copy(nih / name, tmp_path)
    table = read_table(tmp_path, NIH14)
    assert len(table) == 112_120
    assert table["official"].value_counts().to_dict() == {"train_val": 86_524, "test": 25_596}
    counts = table[list(NIH14.findings)].sum()
    assert counts[["Edema", "Fibrosis", "Pneumonia", "Hernia"]].tolist() == [2303, 1686, 1431, 227]
    patients = table.groupby("official")["patient"].unique()
    assert not set(patients["train_val"]) & set(patients["test"])
