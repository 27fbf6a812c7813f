"""cxr-edge, set up as its command line does it."""

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

import cxr_edge
from benchmarks.workers import NotMeasured
from cxr_edge.errors import UnknownOperatingPoint
from cxr_edge.images import read_image
from cxr_edge.model.record import ResultRecord
from cxr_edge.model.settings import Settings
from cxr_edge.outputs.analysis import Analyser
from cxr_edge.runs.batch import infer
from cxr_edge.runs.inputs import find_inputs
from cxr_edge.support.parallel import usable_cores


class Directory:
    """Files → results, one image per core: `cxr_edge.runs.batch.infer`."""

    def __init__(self, images: list[str], tta: bool = False, adaptive: bool = False) -> None:
        cv2.setNumThreads(1)
        self._images = images
        self._model = cxr_edge.load(device="cpu", threads=1)
        self._analyser = Analyser.of(self._model, self._settings(tta=tta, adaptive=adaptive), ())
        self._workers = usable_cores()
        self.work = len(images)
        self.settings: dict[str, Any] = {
            **_model_settings(self._model),
            "call": "cxr_edge.runs.batch.infer",
            "threads": 1,
            "workers": self._workers,
            "tta": tta,
            "adaptive": adaptive,
        }

    def run(self) -> npt.NDArray[np.float64]:
        """Infer all images."""
        values = np.empty((len(self._images), len(self._model.labels)))
        for number, record in enumerate(infer(self._analyser, find_inputs(self._images), None, self._workers)):
            if not isinstance(record, ResultRecord):
                raise ValueError(f"an image of the benchmark cannot be read: {record.error.message}")
            values[number] = list(record.probabilities.values())
        return values

    def _settings(self, *, tta: bool, adaptive: bool) -> Settings:
        try:
            return self._model.settings(tta=tta, adaptive=adaptive)
        except UnknownOperatingPoint as error:  # the bundle has no rule for early exit
            raise NotMeasured(str(error)) from error


class Array:
    """One decoded image → result, all cores on it: `cxr_edge.Model.predict`."""

    def __init__(self, images: list[str], tta: bool = False, heatmaps: bool = False) -> None:
        self._arrays = [read_image(path).pixels for path in images]
        self._model = cxr_edge.load(device="cpu", threads=usable_cores())
        self._choices = {"tta": tta, "heatmaps": heatmaps}
        self.work = len(images)
        self.settings: dict[str, Any] = {
            **_model_settings(self._model),
            "call": "model.predict(array)",
            "threads": usable_cores(),
            **self._choices,
        }

    def run(self) -> npt.NDArray[np.float64]:
        """Infer one image after the other."""
        return np.array([self._model.predict(array, **self._choices).values for array in self._arrays])


def _model_settings(model: cxr_edge.Model) -> dict[str, Any]:
    return {"bundle": model.identity, "precision": model.precision, "device": model.device}
