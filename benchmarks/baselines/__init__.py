"""Contestants: the alternatives, each in its best documented setting, and cxr-edge itself.

A class here is constructed with the paths of the images and does its work in `run`; see
`benchmarks.workers.Implementation`. Its module is imported only inside a worker, so that a missing package costs only
its own row.
"""

from pathlib import Path
from typing import Final

KERAS_MODEL: Final = (
    Path(__file__).parent.parent.parent / "training" / "models" / "nih14-efficientnetb0" / "model.keras"
)

#: The network's input.
SIDE: Final = 224
