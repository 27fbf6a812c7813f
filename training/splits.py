"""Splits by patient: the published test list, and validation carved out of the rest."""

import pandas as pd
from sklearn.model_selection import GroupShuffleSplit

from training.errors import DataError


def split_official(films: pd.DataFrame, validation: float, seed: int) -> dict[str, pd.DataFrame]:
    """Split into train, validation and test without a patient in two of them.

    Parameters
    ----------
    films : DataFrame
        As `training.nih.read_dataset` gives it.
    validation : float
        Share of the patients outside the official test list.
    seed : int

    Returns
    -------
    dict
        ``train``, ``validation`` and ``test``.

    Raises
    ------
    DataError
        A patient stands in two parts.
    """
    rest = films[films["official"] == "train_val"].reset_index(drop=True)
    shuffle = GroupShuffleSplit(n_splits=1, test_size=validation, random_state=seed)
    train_rows, validation_rows = next(shuffle.split(rest, groups=rest["patient"]))
    parts = {
        "train": rest.iloc[train_rows].reset_index(drop=True),
        "validation": rest.iloc[validation_rows].reset_index(drop=True),
        "test": films[films["official"] == "test"].reset_index(drop=True),
    }
    require_disjoint_patients(parts)
    return parts


def require_disjoint_patients(parts: dict[str, pd.DataFrame]) -> None:
    """Raise `DataError` when a patient stands in two parts."""
    owner: dict[int, str] = {}
    for name, part in parts.items():
        for patient in part["patient"].unique():
            if patient in owner:
                raise DataError(f"patient {patient} stands in both {owner[patient]} and {name}; split by patient")
            owner[patient] = name
