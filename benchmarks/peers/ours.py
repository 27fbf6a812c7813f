"""cxr-edge by its public interface, set up as its command line does it."""

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

import cxr_edge
from benchmarks.workers import NotMeasured
from cxr_edge.backends import usable_cores
from cxr_edge.batch import Options, infer
from cxr_edge.errors import UnknownOperatingPoint
from cxr_edge.images import read_film


class Directory:
    """Files → results, one film per core: `cxr_edge.batch.infer`."""

    def __init__(self, films: list[str], tta: bool = False, adaptive: bool = False) -> None:
        cv2.setNumThreads(1)
        self._films = films
        self._model = cxr_edge.load(device="cpu", threads=1)
        point = self._model.manifest.default_operating_point
        self._options = Options(tta=tta, operating_point=point, cam=0, colormap="turbo", adaptive=adaptive)
        if adaptive:
            self._require_rule(point)
        self._workers = usable_cores()
        self.work = len(films)
        self.settings: dict[str, Any] = {
            **_model_settings(self._model),
            "call": "cxr_edge.batch.infer",
            "threads": 1,
            "workers": self._workers,
            "tta": tta,
            "adaptive": adaptive,
        }

    def run(self) -> npt.NDArray[np.float64]:
        """Infer all films."""
        values = np.empty((len(self._films), len(self._model.labels)))
        for number, line in enumerate(infer(self._model, self._films, self._options, None, self._workers)):
            if line["status"] != "ok":
                raise ValueError(f"a film of the benchmark cannot be read: {line['error']['message']}")
            values[number] = list(line["probabilities"].values())
        return values

    def _require_rule(self, operating_point: str) -> None:
        try:
            self._model.manifest.adaptive(operating_point)
        except UnknownOperatingPoint as error:
            raise NotMeasured(str(error)) from error


class Array:
    """One decoded film → result, all cores on it: `cxr_edge.Model.predict`."""

    def __init__(self, films: list[str], tta: bool = False, heatmaps: bool = False) -> None:
        self._arrays = [read_film(path).pixels for path in films]
        self._model = cxr_edge.load(device="cpu", threads=usable_cores())
        self._choices = {"tta": tta, "heatmaps": heatmaps}
        self.work = len(films)
        self.settings: dict[str, Any] = {
            **_model_settings(self._model),
            "call": "model.predict(array)",
            "threads": usable_cores(),
            **self._choices,
        }

    def run(self) -> npt.NDArray[np.float64]:
        """Infer one film after the other."""
        return np.array([self._model.predict(array, **self._choices).values for array in self._arrays])


def _model_settings(model: cxr_edge.Model) -> dict[str, Any]:
    return {"bundle": model.identity, "precision": model.precision, "device": model.device}
