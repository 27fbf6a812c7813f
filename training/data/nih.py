"""NIH ChestX-ray14 as tables: one row per image, from NIH's own layout, a subset's, or a cache."""

import hashlib
import warnings
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from training.data.cache import is_cache, read_cached
from training.errors import DataError
from training.labels import LabelSet

#: Columns every table has, besides one 0/1 column per label.
COLUMNS = ("image", "patient", "age", "sex", "view", "official", "collection", "markers_blacked")
#: The whole data set, as manifests name it.
NIH = "112,120 images of NIH ChestX-ray14 (Wang et al. 2017)"
#: The shorter side of the image as it is stored, in pixels; missing where neither table nor cache records it.
#: It describes a copy of the image and not the image, so that no hash includes it.
SIDE = "side"


def read_dataset(root: Path, labels: LabelSet) -> pd.DataFrame:
    """Read the table of a data set and find its images.

    Parameters
    ----------
    root : Path
        A cache that ``python -m training prepare`` wrote; or see `read_table`, with images as PNG
        or JPEG files anywhere below.
    labels : LabelSet
        Labels that the table may name; each becomes a column.

    Returns
    -------
    DataFrame
        The rows of `read_table` whose image is there, with its ``path``; of a cache, with
        ``cache`` (its folder) and ``row`` (the image's place in it).

    Raises
    ------
    DataError
        No known table, an unknown label, or no image at all.
    """
    if is_cache(root):
        return _with_label_columns(read_cached(root), labels)
    table = read_table(root, labels)
    paths = {p.name: p for p in sorted(root.rglob("*")) if p.suffix.lower() in {".png", ".jpg", ".jpeg"}}
    table["path"] = table["image"].map(paths)
    there = table[table["path"].notna()].reset_index(drop=True)
    if there.empty:
        raise DataError(f"{root}: none of the images in the table lies below this folder; unpack the images here")
    if len(there) < len(table):
        warnings.warn(f"{root}: {len(there)} of the table's {len(table)} images are there", stacklevel=2)
    return there


def read_table(root: Path, labels: LabelSet) -> pd.DataFrame:
    """Read the table of a data set.

    Two layouts are known. NIH's own: ``Data_Entry_2017*.csv[.gz]`` and ``test_list.txt[.gz]`` (or
    ``official_test_list.txt[.gz]``). A subset's: ``labels.csv`` with the columns image, labels,
    patient, age, sex, view, split (``train_val`` or ``test``), and, where it was gathered from
    several places, collection, markers_blacked and side. ``labels.csv`` goes first.

    Returns
    -------
    DataFrame
        One row per image: `COLUMNS`, `SIDE`, then the labels as int8. ``official`` is ``train_val`` or
        ``test``, the published split; ``collection`` is where the image was gathered from.

    Raises
    ------
    DataError
        No known table, or an unknown label.
    """
    table = _read_subset(root) if (root / "labels.csv").is_file() else _read_nih(root)
    return _with_label_columns(table, labels)


def _read_subset(root: Path) -> pd.DataFrame:
    table = pd.read_csv(root / "labels.csv", dtype={"image": str, "labels": str})
    table = _with_all_columns(table.rename(columns={"split": "official"}))
    if (nameless := table["patient"].isna()).any():
        raise DataError(
            f"{root / 'labels.csv'}: {table['image'][nameless].iloc[0]} has no patient; name one in each row"
        )
    if strange := set(table["official"].fillna("")) - {"train_val", "test"}:
        raise DataError(f"{root / 'labels.csv'}: expected split to be train_val or test, got {sorted(strange)}")
    return table


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
    table["age"] = table["age"].astype(str).str.extract(r"^(\d+)", expand=False).astype(int)  # the 2017 table: 058Y
    return _with_all_columns(table)


def _with_all_columns(table: pd.DataFrame) -> pd.DataFrame:
    """Keep the known columns; a table without collections is one, with its markers as they are."""
    defaults = (("collection", "NIH"), ("markers_blacked", False), (SIDE, float("nan")))
    table = table.assign(**{column: default for column, default in defaults if column not in table})
    if missing := [column for column in ("labels", *COLUMNS) if column not in table]:
        raise DataError(f"the table lacks the columns {missing}; it has {list(table)}")
    if (twice := table["image"].duplicated()).any():
        raise DataError(f"the table names {table['image'][twice].iloc[0]} twice; expected one row per image")
    return table[["labels", *COLUMNS, SIDE]]


def _one_file(root: Path, pattern: str) -> Path:
    found = sorted(root.glob(pattern))
    if not found:
        raise DataError(f"{root}: expected labels.csv or {pattern}; download it from the NIH Clinical Center's release")
    if len(found) > 1:
        raise DataError(f"{root}: expected one file {pattern}, got {', '.join(p.name for p in found)}; keep the newest")
    return found[0]


def _with_label_columns(table: pd.DataFrame, labels: LabelSet) -> pd.DataFrame:
    names = list(labels.names)
    if (unlabelled := table["labels"].isna()).any():
        raise DataError(f"{table['image'][unlabelled].iloc[0]} has no labels; expected some of {names}")
    marks = table["labels"].str.get_dummies("|")
    if unknown := set(marks) - set(names):
        raise DataError(f"unknown labels {sorted(unknown)}; expected the spelling of the label set, one of {names}")
    marks = marks.reindex(columns=names, fill_value=0).astype("int8")
    for normal in labels.normal:
        contradictory = marks[normal].eq(1) & marks[list(labels.findings)].any(axis=1)
        if contradictory.any():
            raise DataError(
                f"{table['image'][contradictory].iloc[0]}: '{normal}' stands beside a finding; remove one of them"
            )
    return pd.concat([table.drop(columns="labels"), marks], axis=1)


def joined_labels(table: pd.DataFrame, names: Sequence[str]) -> pd.Series:
    """Write the label columns as NIH does, ``Mass|Nodule``."""
    marks = table[list(names)].to_numpy(bool)
    return pd.Series(["|".join(label for label, there in zip(names, row, strict=True) if there) for row in marks])


def describe_images(table: pd.DataFrame) -> str:
    """Say what images are, for a manifest: NIH's are known by their names, the patient and the number of the image."""
    known = table["image"].str.fullmatch(r"\d{8}_\d{3}\.(png|jpe?g)").all()
    return f"{len(table):,} of the {NIH}" if known else f"{len(table):,} images of an origin that is not recorded"


def hash_of_table(images: pd.DataFrame, names: Sequence[str]) -> str:
    """Return the sha256 of columns and labels, independent of folders, of row order, and of caches."""
    rows = images[[*COLUMNS, *names]].sort_values("image").to_csv(index=False, lineterminator="\n")
    return hashlib.sha256(rows.encode()).hexdigest()
