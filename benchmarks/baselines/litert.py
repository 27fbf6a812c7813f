"""LiteRT (TensorFlow Lite) with XNNPACK and a thread per core."""

import numpy as np
import numpy.typing as npt
from ai_edge_litert.interpreter import Interpreter

from benchmarks.baselines.images import read_arrays, read_grey, shrink
from cxr_edge.support.parallel import usable_cores

Probabilities = npt.NDArray[np.float32]


class _Network:
    def __init__(self, graph: str) -> None:
        threads = usable_cores()
        self._interpreter = Interpreter(model_path=graph, num_threads=threads)
        self._interpreter.allocate_tensors()
        self._input = self._interpreter.get_input_details()[0]["index"]
        self._output = self._interpreter.get_output_details()[0]["index"]
        self.settings = {"graph": "TFLiteConverter's, float32", "threads": threads, "call": "interpreter.invoke()"}

    def __call__(self, image: npt.NDArray[np.uint8]) -> Probabilities:
        self._interpreter.set_tensor(self._input, image[np.newaxis, ..., np.newaxis].astype(np.float32))
        self._interpreter.invoke()
        return np.asarray(self._interpreter.get_tensor(self._output)[0])


class Directory:
    """Files → probabilities, one image after the other."""

    def __init__(self, images: list[str], graph: str) -> None:
        self._images = images
        self._network = _Network(graph)
        self.work = len(images)
        self.settings = self._network.settings

    def run(self) -> Probabilities:
        """Read and infer."""
        return np.stack([self._network(read_grey(image)) for image in self._images])


class Array:
    """One decoded image → probabilities."""

    def __init__(self, images: list[str], graph: str) -> None:
        self._arrays = read_arrays(images)
        self._network = _Network(graph)
        self.work = len(images)
        self.settings = self._network.settings

    def run(self) -> Probabilities:
        """Resize and infer."""
        return np.stack([self._network(shrink(array)) for array in self._arrays])
