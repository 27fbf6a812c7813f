"""A small data set on real films, in a subset's layout."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cxr_edge.labels import LABELS
from tests.conftest import SAMPLES


@pytest.fixture(scope="session")
def data(tmp_path_factory) -> Path:
    """The repository's films under 60 names, with random labels, from two collections."""
    root = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    rows = []
    for patient in range(60):
        name = f"{patient}_0.png"
        shutil.copy(SAMPLES[patient % len(SAMPLES)], root / name)
        labels = [label for label in LABELS[:14] if rng.random() < 0.5] or ["No Finding"]
        if patient % 5 == 0:
            labels = ["No Finding"]
        split = "test" if patient % 4 == 3 else "train_val"
        rows.append({"image": name, "labels": "|".join(labels), "patient": patient, "age": 20 + patient,
                     "sex": "FM"[patient % 2], "view": ["PA", "AP"][patient % 3 == 0], "split": split,
                     "collection": "AB"[patient % 2], "markers_blacked": patient % 4 == 3})  # fmt: skip
    pd.DataFrame(rows).to_csv(root / "labels.csv", index=False)
    return root
