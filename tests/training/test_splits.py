"""Splits: no patient in two parts, ever."""

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.errors import DataError
from training.nih import read_dataset
from training.splits import require_disjoint_patients, split_official


@given(st.lists(st.integers(0, 30), min_size=10, max_size=200), st.integers(0, 5))
def test_patients_stay_together(patients, seed):
    films = pd.DataFrame({"patient": [*patients, 100, 101, 102], "official": "train_val"})
    films.loc[len(films)] = {"patient": 999, "official": "test"}
    parts = split_official(films, 0.2, seed)
    assert sum(map(len, parts.values())) == len(films)
    owners = [set(part["patient"]) for part in parts.values()]
    assert sum(map(len, owners)) == len(set.union(*owners))


def test_a_patient_in_two_parts_is_an_error():
    films = pd.DataFrame({"patient": [1, 2, 3, 1], "official": ["train_val"] * 3 + ["test"]})
    with pytest.raises(DataError, match="patient 1 stands in both"):
        split_official(films, 0.5, 0)
    require_disjoint_patients({"a": films[:2], "b": films[2:3]})


def test_the_split_of_the_subset_is_reproducible(nih):
    films = read_dataset(nih)
    first, second = (split_official(films, 0.15, seed=0) for _ in range(2))
    for name in first:
        pd.testing.assert_frame_equal(first[name], second[name])
    assert len(split_official(films, 0.15, seed=1)["validation"].merge(first["validation"], on="image")) < 284
