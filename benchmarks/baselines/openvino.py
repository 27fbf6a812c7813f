"""OpenVINO with cxr-edge's graph and its own performance hints, in float32."""

from typing import Any, Final

import numpy as np
import numpy.typing as npt
import openvino

from benchmarks.baselines.images import read_arrays, read_grey, shrink
from cxr_edge.model.bundle import read_bundle

Probabilities = npt.NDArray[np.float32]

#: On a processor with bfloat16, OpenVINO rounds to it by default, which gives other probabilities.
PRECISION: Final = "f32"


class Directory:
    """Files → probabilities: ``THROUGHPUT``, each image passed to an ``AsyncInferQueue`` as it is read."""

    def __init__(self, images: list[str]) -> None:
        self._images = images
        self._compiled, self._output, self.settings = _compile("THROUGHPUT")
        self._queue = openvino.AsyncInferQueue(self._compiled)
        self._queue.set_callback(self._keep)
        labels = self._output.get_partial_shape()[1].get_length()
        self._values = np.empty((len(images), labels), dtype=np.float32)
        self.work = len(images)
        self.settings |= {"call": "cv2.imread (grey), AsyncInferQueue", "requests": len(self._queue)}

    def run(self) -> Probabilities:
        """Read and enqueue one image after the other; wait for the last."""
        for number, image in enumerate(self._images):
            self._queue.start_async({0: read_grey(image)[np.newaxis]}, number)
        self._queue.wait_all()
        return self._values

    def _keep(self, request: Any, number: int) -> None:
        self._values[number] = request.get_tensor(self._output).data[0]


class Array:
    """One decoded image → probabilities: ``LATENCY``."""

    def __init__(self, images: list[str]) -> None:
        self._arrays = read_arrays(images)
        self._compiled, self._output, self.settings = _compile("LATENCY")
        self.work = len(images)
        self.settings |= {"call": "compiled_model(x)"}

    def run(self) -> Probabilities:
        """Infer one image after the other."""
        images = (shrink(array)[np.newaxis] for array in self._arrays)
        return np.concatenate([self._compiled(image)[self._output].copy() for image in images])


def _compile(hint: str) -> tuple[Any, Any, dict[str, Any]]:
    bundle = read_bundle()
    variant = bundle.manifest.variant(bundle.manifest.default_variant)
    core = openvino.Core()
    # A dynamic batch axis costs OpenVINO's CPU plug-in time in every call.
    model = core.read_model(bundle.files[variant.model])
    model.reshape([1, *bundle.manifest.input.size])
    compiled = core.compile_model(model, "CPU", {"PERFORMANCE_HINT": hint, "INFERENCE_PRECISION_HINT": PRECISION})
    settings = {
        "graph": f"{bundle.identity}, {variant.model}, batch 1",
        "PERFORMANCE_HINT": hint,
        "INFERENCE_PRECISION_HINT": PRECISION,
        "threads": compiled.get_property("INFERENCE_NUM_THREADS"),
        "streams": int(compiled.get_property("NUM_STREAMS")),
    }
    return compiled, compiled.output(bundle.manifest.tensors.probabilities), settings
