"""ONNX Runtime in a default session: as in a tutorial, and with cxr-edge's own slim graph."""

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import onnxruntime

from benchmarks.baselines.images import read_grey, show, shrink
from cxr_edge.model.bundle import read_bundle

Probabilities = npt.NDArray[np.float32]


class Plain:
    """Files → probabilities: images in colour, three float channels, plain export, one image after the other.

    Parameters
    ----------
    images : list of str
    graph : str
        Path of the unchanged export of tf2onnx, which takes (N, 224, 224, 3) float32.
    tta : bool
        Average all TTA variants of cxr-edge's bundle, computed as one batch.
    """

    def __init__(self, images: list[str], graph: str, tta: bool = False) -> None:
        self._images = images
        variants = read_bundle().manifest.tta.variants
        self._variants = variants if tta else variants[:1]
        self._session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
        self._input = self._session.get_inputs()[0].name
        self.work = len(images)
        self.settings: dict[str, Any] = {
            "call": "cv2.imread (colour), float32, session.run, serial",
            "graph": "tf2onnx's export as it is, 3 float32 channels",
            "session": "default",
            "tta": tta,
        }

    def run(self) -> Probabilities:
        """Infer one image after the other."""
        return np.stack([self._infer(image) for image in self._images])

    def _infer(self, path: str) -> Probabilities:
        image = shrink(np.asarray(cv2.imread(path, cv2.IMREAD_COLOR)))
        (probabilities,) = self._session.run(None, {self._input: self._shown(image)})
        return np.asarray(probabilities.mean(axis=0))

    def _shown(self, image: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        return image[np.newaxis].astype(np.float32) if len(self._variants) == 1 else show(image, self._variants)


class Slim:
    """Files → probabilities: cxr-edge's graph in a default session, one image after the other."""

    def __init__(self, images: list[str]) -> None:
        self._images = images
        bundle = read_bundle()
        tensors = bundle.manifest.tensors
        variant = bundle.manifest.variant(bundle.manifest.default_variant)
        self._session = onnxruntime.InferenceSession(bundle.files[variant.model], providers=["CPUExecutionProvider"])
        self._input, self._output = tensors.image, tensors.probabilities
        self.work = len(images)
        self.settings = {
            "call": "cv2.imread (grey), uint8, session.run, serial",
            "graph": f"{bundle.identity}, {variant.model}",
            "session": "default",
        }

    def run(self) -> Probabilities:
        """Infer one image after the other."""
        images = (read_grey(image)[np.newaxis] for image in self._images)
        return np.concatenate([self._session.run([self._output], {self._input: image})[0] for image in images])
