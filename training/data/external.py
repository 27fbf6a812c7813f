"""Images of other hospitals as the same table: CheXpert, MIMIC-CXR-JPG, or a user's CSV."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from training.data.nih import SIDE
from training.errors import DataError
from training.labels import LabelSet, aliases

#: What an uncertain label (-1) counts as; a label that is not mentioned counts as absent.
Uncertain = Literal["ignore", "zeros", "ones"]


def read_external(kind: str, root: Path, uncertain: Uncertain, labels: LabelSet) -> pd.DataFrame:
    """Read the frontal images of another data set.

    Parameters
    ----------
    kind : str
        A key of `READERS`.
    root : Path
        See the reader; for ``csv`` also the file itself.
    uncertain : str
        ``ignore`` leaves an uncertain label out of that finding's figures; ``zeros`` and ``ones``
        count it as absent or present (Irvin et al. 2019 compare the three).
    labels : LabelSet
        Of the model that is evaluated.

    Returns
    -------
    DataFrame
        As `training.data.nih.read_dataset` returns it, but labels are 1, 0, or NaN: left out, or not
        among the data set's own labels.

    Raises
    ------
    DataError
        Files or columns are missing, or no image is frontal.
    """
    table, names = READERS[kind](root, labels), list(labels.names)
    for label in names:
        if label not in table:
            table[label] = np.nan
    try:
        marks = table[names].astype(float)
    except (TypeError, ValueError) as error:
        raise DataError(f"{root}: expected labels of 1, 0, -1 (uncertain) or empty; {error}") from error
    if strange := set(np.unique(marks.to_numpy()[~np.isnan(marks.to_numpy())])) - {-1.0, 0.0, 1.0}:
        raise DataError(f"{root}: expected labels of 1, 0, -1 (uncertain) or empty, got {sorted(strange)}")
    table[names] = marks.replace(-1.0, {"ignore": np.nan, "zeros": 0.0, "ones": 1.0}[uncertain])
    if table.empty:
        raise DataError(f"{root}: no frontal image")
    for column, default in (
        ("sex", None),
        ("age", np.nan),
        ("view", None),
        ("collection", kind),
        ("markers_blacked", False),
        (SIDE, np.nan),
    ):
        if column not in table:
            table[column] = default
    columns = ["image", "path", "patient", "age", "sex", "view", "collection", "markers_blacked", SIDE, *names]
    return table[columns].reset_index(drop=True)


def read_chexpert(root: Path, labels: LabelSet) -> pd.DataFrame:
    """Read CheXpert: ``valid.csv``, or else ``test.csv`` or ``train.csv``, and the images beside it."""
    table = pd.read_csv(_first(root, ("valid.csv", "test.csv", "train.csv")))
    _require(table, ["Path", "Frontal/Lateral", *_known(table, labels)], root)
    table = table[table["Frontal/Lateral"] == "Frontal"]
    inside = table["Path"].str.replace(r"^CheXpert-v1\.0(-small)?/", "", regex=True)
    images = pd.DataFrame(
        {
            "image": inside,
            "path": [root / name for name in inside],
            "patient": inside.str.extract(r"(patient\d+)", expand=False),
            "sex": _column(table, "Sex").map({"Male": "M", "Female": "F"}),
            "age": _column(table, "Age"),
            "view": _column(table, "AP/PA"),
        }
    )
    return images.join(_mapped(table, labels))


def read_mimic(root: Path, labels: LabelSet) -> pd.DataFrame:
    """Read MIMIC-CXR-JPG 2: ``mimic-cxr-2.*-chexpert.csv[.gz]``, ``…-metadata.csv[.gz]``, ``files/``.

    Where ``…-split.csv[.gz]`` is there, its test part alone.
    """
    reported = pd.read_csv(_only(root, "mimic-cxr-2*-chexpert.csv*"))
    _require(reported, ["subject_id", "study_id", *_known(reported, labels)], root)
    images = pd.read_csv(_only(root, "mimic-cxr-2*-metadata.csv*"))
    images = images[images["ViewPosition"].isin(["AP", "PA"])]
    if list(root.glob("mimic-cxr-2*-split.csv*")):
        split = pd.read_csv(_only(root, "mimic-cxr-2*-split.csv*"))
        images = images[images["dicom_id"].isin(split.loc[split["split"] == "test", "dicom_id"])]
    images = images.merge(reported, on=["subject_id", "study_id"]).reset_index(drop=True)
    names = [
        f"p{str(image.subject_id)[:2]}/p{image.subject_id}/s{image.study_id}/{image.dicom_id}.jpg"
        for image in images.itertuples()
    ]
    named = pd.DataFrame({"image": names, "path": [root / "files" / name for name in names]})
    return named.assign(patient=images["subject_id"], view=images["ViewPosition"]).join(_mapped(images, labels))


def read_csv(root: Path, labels: LabelSet) -> pd.DataFrame:
    """Read a user's table: image (a path relative to it) and any of our labels; patient, age, sex, view if known.

    Without patients every image counts as a patient of its own, which makes intervals too narrow.
    """
    file = root if root.is_file() else _first(root, ("labels.csv",))
    table = pd.read_csv(file, dtype={"image": str, "patient": str})
    _require(table, ["image"], file)
    if not set(labels.names) & set(table):
        raise DataError(f"{file}: expected a column for at least one of {', '.join(labels.names)}, got {list(table)}")
    table["path"] = [file.parent / name for name in table["image"]]
    if "patient" not in table:
        return table.assign(patient=table["image"])
    if (unknown := table["patient"].isna()).any():
        raise DataError(
            f"{file}: {table['image'][unknown].iloc[0]} has no patient; name one for each image, or for none"
        )
    return table


READERS: Mapping[str, Callable[[Path, LabelSet], pd.DataFrame]] = {
    "chexpert": read_chexpert,
    "mimic": read_mimic,
    "csv": read_csv,
}


def _known(table: pd.DataFrame, labels: LabelSet) -> dict[str, str]:
    """Return CheXpert's and MIMIC's labels that mean the same as one of ours: their name → ours.

    Those of `training.labels.aliases`, and findings of the same name.

    Raises
    ------
    DataError
        None does.
    """
    known = {theirs: ours for theirs, ours in aliases("chexpert").items() if ours in labels.names}
    known |= {name: name for name in labels.findings if name in table and name not in known.values()}
    if not known:
        raise DataError(f"none of {', '.join(labels.names)} is a label of CheXpert or MIMIC; evaluate with a csv")
    return known


def _mapped(table: pd.DataFrame, labels: LabelSet) -> pd.DataFrame:
    """Rename labels to ours; what the report does not mention counts as absent."""
    known = _known(table, labels)
    return table[list(known)].rename(columns=known).fillna(0.0)


def _column(table: pd.DataFrame, name: str) -> pd.Series:
    return table[name] if name in table else pd.Series(np.nan, index=table.index)


def _first(root: Path, names: tuple[str, ...]) -> Path:
    for name in names:
        if (root / name).is_file():
            return root / name
    raise DataError(f"{root}: expected {' or '.join(names)}")


def _only(root: Path, pattern: str) -> Path:
    found = sorted(root.glob(pattern))
    if len(found) != 1:
        raise DataError(f"{root}: expected one file {pattern}, got {len(found)}")
    return found[0]


def _require(table: pd.DataFrame, columns: list[str], where: Path) -> None:
    if missing := [column for column in columns if column not in table]:
        raise DataError(f"{where}: lacking the columns {missing}; it has {list(table)}")
