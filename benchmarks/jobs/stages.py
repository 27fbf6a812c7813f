"""Where the time of an image goes: CPU time of each step, on one thread."""

import shutil
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np
import psutil

import cxr_edge
from cxr_edge import images
from cxr_edge.outputs.base import Analysis, Output
from cxr_edge.outputs.dicom import DicomDirectory
from cxr_edge.outputs.html.picture import MOST_LARGE, ReportPictures
from cxr_edge.outputs.overlays import OverlayFiles
from cxr_edge.runs.directory import RunDirectory

T = TypeVar("T")


def stages(inputs: Path, out: Path, most: int) -> dict[str, float]:
    """Return milliseconds of CPU time by step, the median over images; the first image warms up.

    Parameters
    ----------
    inputs : Path
        Folder of images.
    out : Path
        A results directory; replaced.
    most : int
        Images that are timed.
    """
    cv2.setNumThreads(1)
    model = cxr_edge.load(device="cpu", threads=1)
    provenance = model.provenance(model.settings(heatmaps=True))
    shutil.rmtree(out, ignore_errors=True)
    outputs: dict[str, Output] = {
        "3 overlays": OverlayFiles(out, 3, "turbo"),
        "pictures of the report": ReportPictures(out, MOST_LARGE + 1, heatmaps=True),
    }
    paths = sorted(inputs.iterdir())[:most]
    if paths[0].suffix == ".dcm":
        outputs["DICOM results"] = DicomDirectory(out, 3, "turbo", provenance)
    found: dict[str, list[float]] = {}
    with RunDirectory(out, {}, {}, [label.name for label in model.labels]):
        _time_image(paths[0], model, outputs, _Stopwatch({}))
        for path in paths:
            _time_image(path, model, outputs, _Stopwatch(found))
    return {name: round(float(np.median(times)) * 1e3, 2) for name, times in found.items()}


class _Stopwatch:
    """Collects the CPU time of steps, of this process and of its decoders."""

    def __init__(self, found: dict[str, list[float]]) -> None:
        self._found = found

    def __call__(self, name: str, step: Callable[[], T]) -> T:
        before = _cpu_seconds()
        value = step()
        self._found.setdefault(name, []).append(_cpu_seconds() - before)
        return value


def _time_image(path: Path, model: cxr_edge.Model, outputs: Mapping[str, Output], timed: _Stopwatch) -> None:
    single, full = model.settings(tta=False), model.settings(tta=True, heatmaps=True)
    image = timed("decode", partial(images.decode, path.read_bytes(), model.limits))
    evaluate = partial(model.evaluate, image, path=path.name)
    timed("one variant", partial(evaluate, single))
    timed("all variants", partial(evaluate, model.settings(tta=True)))
    evaluation = timed("all variants, heat maps", partial(evaluate, full))
    analysis = Analysis(path.name, image, model.decide(evaluation, full), model.provenance(full))
    for name, output in outputs.items():
        timed(name, partial(output.write, analysis, analysis.result.record()))


def _cpu_seconds() -> float:
    decoders = psutil.Process().children(recursive=True)  # whose times are known to 10 ms
    return time.process_time() + sum(sum(process.cpu_times()[:2]) for process in decoders)
