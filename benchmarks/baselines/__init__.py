"""Contestants: what users would pick instead, each in its best documented setting, and cxr-edge itself.

A class here is made with the paths of the images and does its work in `run`; see `benchmarks.workers.Baseline`.
Its module is imported inside a worker alone, so that a package that is missing costs its own row.
"""

from pathlib import Path
from typing import Final

KERAS_MODEL: Final = (
    Path(__file__).parent.parent.parent / "training" / "models" / "nih14-efficientnetb0" / "model.keras"
)

#: The network's input.
SIDE: Final = 224
