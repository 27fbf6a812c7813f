"""NIH ChestX-ray14 as tables: one row a film, from NIH's own layout or a prepared subset's."""

import warnings
from pathlib import Path

import pandas as pd

from cxr_edge.labels import LABELS, NO_FINDING
from training.errors import DataError

#: Columns every table has, besides one 0/1 column per label.
COLUMNS = ("image", "patient", "age", "sex", "view", "official")


def read_dataset(root: Path) -> pd.DataFrame:
    """Read the table of a data set and find its images.

    Parameters
    ----------
    root : Path
        See `read_table`; images are PNG or JPEG files anywhere below.

    Returns
    -------
    DataFrame
        The rows of `read_table` whose image is there, with its ``path``.

    Raises
    ------
    DataError
        No known table, an unknown label, or no image at all.
    """
    table = read_table(root)
    paths = {p.name: p for p in sorted(root.rglob("*")) if p.suffix.lower() in {".png", ".jpg", ".jpeg"}}
    table["path"] = table["image"].map(paths)
    there = table[table["path"].notna()].reset_index(drop=True)
    if there.empty:
        raise DataError(f"{root}: the table names no image that lies below this folder; unpack the images here")
    if len(there) < len(table):
        warnings.warn(f"{root}: {len(there)} of the table's {len(table)} films are there", stacklevel=2)
    return there


def read_table(root: Path) -> pd.DataFrame:
    """Read the table of a data set.

    Two layouts are known. NIH's own: ``Data_Entry_2017*.csv[.gz]`` and ``test_list.txt[.gz]`` (or
    ``official_test_list.txt[.gz]``). A subset's: ``labels.csv`` with the columns image, labels,
    patient, age, sex, view, split (``train_val`` or ``test``). ``labels.csv`` goes first.

    Returns
    -------
    DataFrame
        One row per film: `COLUMNS`, then `LABELS` as int8. ``official`` is ``train_val`` or
        ``test``, the published split. Further columns of ``labels.csv`` are kept.

    Raises
    ------
    DataError
        No known table, or an unknown label.
    """
    table = _read_subset(root) if (root / "labels.csv").is_file() else _read_nih(root)
    return _with_label_columns(table)


def _read_subset(root: Path) -> pd.DataFrame:
    table = pd.read_csv(root / "labels.csv", dtype={"image": str, "labels": str})
    return table.rename(columns={"split": "official"})


def _read_nih(root: Path) -> pd.DataFrame:
    entry = _one_file(root, "Data_Entry_2017*.csv*")
    test_list = _one_file(root, "*test_list.txt*")
    table = pd.read_csv(entry).rename(
        columns={
            "Image Index": "image",
            "Finding Labels": "labels",
            "Patient ID": "patient",
            "Patient Age": "age",
            "Patient Gender": "sex",
            "View Position": "view",
        }
    )
    test_names = set(pd.read_csv(test_list, header=None, names=["image"])["image"])
    table["official"] = table["image"].isin(test_names).map({True: "test", False: "train_val"})
    return table[["image", "labels", "patient", "age", "sex", "view", "official"]]


def _one_file(root: Path, pattern: str) -> Path:
    found = sorted(root.glob(pattern))
    if not found:
        raise DataError(f"{root}: expected labels.csv or {pattern}; download it from the NIH Clinical Center's release")
    return found[0]


def _with_label_columns(table: pd.DataFrame) -> pd.DataFrame:
    marks = table["labels"].str.get_dummies("|")
    unknown = set(marks) - set(LABELS)
    if unknown:
        raise DataError(f"unknown labels {sorted(unknown)}; expected NIH's spelling, one of {list(LABELS)}")
    marks = marks.reindex(columns=list(LABELS), fill_value=0).astype("int8")
    contradictory = marks[NO_FINDING].eq(1) & marks.drop(columns=NO_FINDING).any(axis=1)
    if contradictory.any():
        raise DataError(f"{table['image'][contradictory].iloc[0]}: '{NO_FINDING}' stands beside a disease")
    return pd.concat([table.drop(columns="labels"), marks], axis=1)
