"""Processes from their start to their first result, started as a user would start them."""

import importlib.util
import json
import subprocess
import sys
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from benchmarks.baselines import KERAS_MODEL
from benchmarks.workers import ROOT

_KERAS: Final = """
import json, sys
import cv2, keras, numpy
network = keras.models.load_model(sys.argv[1], compile=False)
image = cv2.resize(cv2.imread(sys.argv[2], cv2.IMREAD_GRAYSCALE), (224, 224), interpolation=cv2.INTER_AREA)
batch = image[numpy.newaxis, ..., numpy.newaxis].astype("float32")
print(json.dumps(network.predict(batch, verbose=0).tolist()))
"""


class CxrEdge:
    """``cxr-edge infer`` of one image."""

    work = 1
    settings: dict[str, Any] = {"command": "python -m cxr_edge infer IMAGE --no-tta --json"}  # noqa: RUF012

    def __init__(self, images: list[str]) -> None:
        self._image = images[0]

    def run(self) -> npt.NDArray[np.float64]:
        """Start the process and wait for its end."""
        line = _run("-m", "cxr_edge", "infer", self._image, "--no-tta", "--json")
        return np.array([list(json.loads(line)["probabilities"].values())])


class Keras:
    """Import of TensorFlow, load of the model, ``predict`` of one image."""

    work = 1
    settings: dict[str, Any] = {  # noqa: RUF012
        "command": "python -c 'import keras (TensorFlow), load_model, cv2.imread, predict'"
    }

    def __init__(self, images: list[str]) -> None:
        for package in ("keras", "tensorflow"):
            if importlib.util.find_spec(package) is None:
                raise ModuleNotFoundError(name=package)
        self._image = images[0]

    def run(self) -> npt.NDArray[np.float64]:
        """Start the process and wait for its end."""
        return np.array(json.loads(_run("-c", _KERAS, str(KERAS_MODEL), self._image)))


def _run(*arguments: str) -> str:
    return subprocess.run([sys.executable, *arguments], check=True, capture_output=True, text=True, cwd=ROOT).stdout
