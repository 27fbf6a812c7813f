"""Splits by patient: the published test list, the reference design's 80/20, or a user's own file."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.model_selection import GroupShuffleSplit

from training.errors import DataError
from training.recipe import Split

PARTS = ("train", "validation", "test")

Parts = dict[str, pd.DataFrame]


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
    if split.train_images:
        parts["train"] = _first_patients(parts["train"], split.train_images, split.train_seed)
    parts = {name: part.reset_index(drop=True) for name, part in parts.items()}
    require_disjoint_patients(parts)
    for name in ("train", "validation"):
        if parts[name].empty:
            raise DataError(f"the split leaves no image for {name}: {split.describe()}")
    return parts


def of_collections(images: pd.DataFrame, collections: Sequence[str]) -> pd.DataFrame:
    """Choose the images of some collections; all images, if none is named.

    Raises
    ------
    DataError
        There is no image of one of them.
    """
    there = set(images["collection"])
    if unknown := set(collections) - there:
        raise DataError(f"no image is of collection {', '.join(sorted(unknown))}; there are {', '.join(sorted(there))}")
    return images[images["collection"].isin(collections)].reset_index(drop=True) if collections else images


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
    chosen = of_collections(images, split.validation_collections)
    return images[~images["patient"].isin(chosen["patient"])], chosen


def _first_patients(images: pd.DataFrame, most: int, seed: int) -> pd.DataFrame:
    """Return the images of the first patients in a random order, as many as have at most so many together."""
    counts = images["patient"].value_counts().sort_index()
    shuffled = counts.iloc[np.random.default_rng(seed).permutation(len(counts))]
    return images[images["patient"].isin(shuffled.index[shuffled.cumsum() <= most])]


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
