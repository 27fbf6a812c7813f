"""A small data set of real images, in a subset's layout, and a small fit on it."""

import shutil
from pathlib import Path

import msgspec
import numpy as np
import pandas as pd
import pytest

from cxr_edge.model.labels import Code, Label
from tests.conftest import SAMPLES
from tests.memory import memory_given_back as memory_given_back
from training.labels import LabelSet, read_labels
from training.recipe import Recipe

#: The shipped label set.
NIH14 = read_labels()
#: Another one: its normal label in the middle, names with spaces, some without a code.
FIVE = LabelSet.of(
    [
        Label("Fracture", code=Code("SCT", "125605004", "Fracture")),
        Label("Normal", role="normal"),
        Label("Line misplaced", display={"en": "Misplaced line", "de": "Fehllage eines Katheters"}),
        Label("Mass", code=Code("SCT", "4147007", "Mass"), site=Code("SCT", "39607008", "Lung")),
        Label("Scoliosis"),
    ]
)

RECIPE_TOML = """
initial = "random"
batch = 8
split = { validation = 0.4 }
loss = { collection_prior = 5 }
augmentation = { flip = 0.5, rotation = 10, boxes = 0.5 }
optimizer = { weight_decay = 1e-4, ema = 0.9 }
stopping = { keep = "last" }
stages = [
  { size = 32, epochs = 2, learning_rate = 1e-3 },
  { size = 64, epochs = 2, learning_rate = 1e-3 },
]
"""
RECIPE = msgspec.toml.decode(RECIPE_TOML, type=Recipe)


@pytest.fixture(scope="session")
def data(tmp_path_factory) -> Path:
    """The repository's images under 60 names, with random labels, from two collections."""
    return write_images(tmp_path_factory.mktemp("data") / "images")


def write_images(root: Path, labels: LabelSet = NIH14) -> Path:
    """Write the images of `data` into a new folder, with these labels."""
    root.mkdir()
    rng = np.random.default_rng(0)
    rows = []
    for patient in range(60):
        name = f"{patient}_0.png"
        shutil.copy(SAMPLES[patient % len(SAMPLES)], root / name)
        marked = [label for label in labels.findings if rng.random() < 0.5]
        if patient % 5 == 0 or not marked:
            marked = list(labels.normal)
        split = "test" if patient % 4 == 3 else "train_val"
        rows.append({"image": name, "labels": "|".join(marked), "patient": patient, "age": 20 + patient,
                     "sex": "FM"[patient // 8 % 2], "view": ["PA", "AP"][patient % 3 == 0], "split": split,
                     "collection": "AB"[patient // 4 % 2], "markers_blacked": patient % 4 == 3})  # fmt: skip
    pd.DataFrame(rows).to_csv(root / "labels.csv", index=False)
    return root


@pytest.fixture(scope="session")
def five_labels(tmp_path_factory) -> Path:
    """The file of `FIVE`."""
    path = tmp_path_factory.mktemp("labels") / "five.json"
    path.write_bytes(msgspec.json.encode(FIVE.records))
    return path


@pytest.fixture(scope="session")
def finished(data, tmp_path_factory) -> Path:
    """A fit of two small stages on it, not to be changed."""
    from training.fitting import run

    out = tmp_path_factory.mktemp("run")
    run.fit_run(data, out, RECIPE, deterministic=True)
    return out
