"""Splits by patient: the published test list, the reference design's 80/20, or a user's own file."""

from pathlib import Path
from typing import Literal

import msgspec
import pandas as pd
from sklearn.model_selection import GroupShuffleSplit

from training.errors import DataError

PARTS = ("train", "validation", "test")

Parts = dict[str, pd.DataFrame]


class Split(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How images are divided; no patient is ever in two parts.

    Attributes
    ----------
    scheme : str
        ``official``: NIH's published test list. ``random-80-20``: a fifth of all patients is the
        test part, as in the reference design. ``file``: see `file`.
    validation : float
        Share of the patients outside the test part that are held out at random.
    validation_collections : tuple of str
        Instead: hold out these whole collections, so that validation measures the network
        on images gathered elsewhere. Images of their patients in other collections are left out.
    seed : int
        Of the random choices.
    file : str
        For ``file``: a CSV with the columns image and split (train, validation or test). Images it
        does not name are left out.
    """

    scheme: Literal["official", "random-80-20", "file"] = "official"
    validation: float = 0.15
    validation_collections: tuple[str, ...] = ()
    seed: int = 0
    file: str = ""

    def __post_init__(self) -> None:
        if not 0 < self.validation < 1:
            raise ValueError(f"expected validation between 0 and 1, got {self.validation}")
        if (self.scheme == "file") != bool(self.file):
            raise ValueError("expected `file` with the scheme 'file', and only there")

    def describe(self) -> str:
        """Describe how validation was held out and what the test part is."""
        if self.scheme == "file":
            return f"the user's own file {Path(self.file).name}"
        test = "official test list" if self.scheme == "official" else "20% of the patients at random as test"
        if self.validation_collections:
            return f"{test}; validation: all patients of collection {', '.join(self.validation_collections)}"
        return f"{test}; validation: {self.validation:.0%} of the other patients at random"


def split_images(images: pd.DataFrame, split: Split) -> Parts:
    """Divide images into train, validation and test.

    Parameters
    ----------
    images : DataFrame
        As `training.data.nih.read_dataset` returns it.
    split : Split

    Returns
    -------
    dict
        ``train``, ``validation`` and ``test``.

    Raises
    ------
    DataError
        A patient stands in two parts, train or validation is empty, or the split file is wrong.
    """
    if split.scheme == "file":
        parts = _by_file(images, Path(split.file))
    else:
        rest, test = _official(images) if split.scheme == "official" else _at_random(images, 0.2, split.seed)
        train, validation = _hold_out(rest, split)
        parts = {"train": train, "validation": validation, "test": test}
    parts = {name: part.reset_index(drop=True) for name, part in parts.items()}
    require_disjoint_patients(parts)
    for name in ("train", "validation"):
        if parts[name].empty:
            raise DataError(f"the split leaves no image for {name}: {split.describe()}")
    return parts


def require_disjoint_patients(parts: Parts) -> None:
    """Raise `DataError` when a patient stands in two parts."""
    owner: dict[int, str] = {}
    for name, part in parts.items():
        for patient in part["patient"].unique():
            if patient in owner:
                raise DataError(f"patient {patient} stands in both {owner[patient]} and {name}; split by patient")
            owner[patient] = name


def _official(images: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    test = images["official"] == "test"
    return images[~test], images[test]


def _at_random(images: pd.DataFrame, share: float, seed: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    if images["patient"].nunique() < 2:
        raise DataError(f"expected images of at least 2 patients to divide, got {images['patient'].nunique()}")
    shuffle = GroupShuffleSplit(n_splits=1, test_size=share, random_state=seed)
    rest, held_out = next(shuffle.split(images, groups=images["patient"]))
    return images.iloc[rest], images.iloc[held_out]


def _hold_out(images: pd.DataFrame, split: Split) -> tuple[pd.DataFrame, pd.DataFrame]:
    if not split.validation_collections:
        return _at_random(images, split.validation, split.seed)
    if unknown := set(split.validation_collections) - set(images["collection"]):
        raise DataError(f"no image of collection {sorted(unknown)}; there are {sorted(set(images['collection']))}")
    chosen = images["collection"].isin(split.validation_collections)
    held_out = images["patient"].isin(images["patient"][chosen])
    return images[~held_out], images[chosen]


def _by_file(images: pd.DataFrame, file: Path) -> Parts:
    if not file.is_file():
        raise DataError(f"{file}: expected a CSV with the columns image and split; the recipe's [split] names it")
    try:
        table = pd.read_csv(file, dtype=str)
    except (UnicodeDecodeError, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise DataError(f"{file} cannot be read as CSV: {error}") from error
    if missing := {"image", "split"} - set(table):
        raise DataError(f"{file}: expected the columns image and split, lacking {sorted(missing)}")
    if unknown := set(table["split"].fillna("")) - set(PARTS):
        raise DataError(f"{file}: expected split to be one of {', '.join(PARTS)}, got {sorted(unknown)}")
    if (twice := table["image"].duplicated()).any():
        raise DataError(f"{file}: {table['image'][twice].iloc[0]} stands in it twice; expected one row per image")
    if absent := set(table["image"]) - set(images["image"]):
        raise DataError(f"{file}: {len(absent)} of its images are not in the data set, {sorted(absent)[0]} among them")
    part_of = images["image"].map(table.set_index("image")["split"])
    return {name: images[part_of == name] for name in PARTS}
