"""The hot path in parts, each a function that processes one image.

The network is a part of its own. All other parts use its recorded answer: its 200 million instructions would hide an
extra copy of an image. Also, valgrind emulates every fused multiply-add lane by lane, and takes 20 s for one input.
"""

import copy
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from cxr_edge import images
from cxr_edge.backends import Graph
from cxr_edge.backends.base import Tensor, Value, on_host
from cxr_edge.model.model import Model
from cxr_edge.model.preprocess import preprocess
from cxr_edge.model.record import encode_record
from cxr_edge.model.tta import make_variants
from cxr_edge.outputs.base import Analysis
from cxr_edge.outputs.overlays import FOLDER, OverlayFiles

IMAGE: Final = Path(__file__).parents[2] / "samples" / "00004533_020.png"
NETWORK: Final = "network alone, one variant"


@dataclass(frozen=True)
class HotPath:
    """The parts by name, and the recorded network that all but one of them use.

    Attributes
    ----------
    parts : dict of str to callable
    network : RecordedNetwork
    """

    parts: dict[str, Callable[[], object]]
    network: "RecordedNetwork"


class RecordedNetwork:
    """A network that answers every input as it did the first, at no cost, and records the size of every batch.

    Parameters
    ----------
    network : Graph
        The network to record; run once, on one input.
    image, features : str
        Names of its input, and of the output that may stay on the device.
    shown : ndarray, (1, H, W) uint8
    """

    def __init__(self, network: Graph, image: str, features: str, shown: Value) -> None:
        self._network = network
        names = [name for name in network.outputs if name != features]
        *arrays, kept = network.run([*names, features], {image: shown}, keep=[features])
        self._arrays = dict(zip(names, arrays, strict=True)) | {features: on_host(kept)}
        self._kept = {features: kept}
        self._answers: dict[tuple[str, int], Value] = {}
        self.batches: list[int] = []

    @property
    def device(self) -> str:
        """Return the device of the recorded network."""
        return self._network.device

    @property
    def inputs(self) -> Mapping[str, Tensor]:
        """Return the inputs of the recorded network."""
        return self._network.inputs

    @property
    def outputs(self) -> Mapping[str, Tensor]:
        """Return the outputs of the recorded network."""
        return self._network.outputs

    def run(self, outputs: Sequence[str], feeds: Mapping[str, Value], keep: Collection[str] = ()) -> list[Value]:
        """Return the recorded answer; see `cxr_edge.backends.base.Graph`."""
        (batch,) = feeds.values()
        self.batches.append(len(batch))
        return [
            self._kept_answer(name, len(batch)) if name in keep else self._array(name, len(batch)) for name in outputs
        ]

    def _array(self, name: str, inputs: int) -> Value:
        if (name, inputs) not in self._answers:
            self._answers[name, inputs] = np.repeat(self._arrays[name], inputs, axis=0)
        return self._answers[name, inputs]

    def _kept_answer(self, name: str, inputs: int) -> Value:
        if inputs != 1:
            raise ValueError(
                f"expected one input where {name} stays on the device, got {inputs}; count that with one variant"
            )
        return self._kept[name]


def hot_path(model: Model, scratch: Path) -> HotPath:
    """Return the hot path of one image, a grey PNG of 1024x1024 pixels.

    Parameters
    ----------
    model : Model
        A model on the device ``cpu``, with one thread.
    scratch : Path
        An existing folder for overlays.
    """
    tensors, size = model.manifest.tensors, model.manifest.input.size
    data = IMAGE.read_bytes()
    pixels = images.decode(data).pixels
    graphs = model._graphs.get()
    (first,) = graphs.networks
    shown = make_variants(preprocess(pixels, size), model.manifest.tta.variants[:1])
    recorded = RecordedNetwork(first.network, tensors.image, tensors.features, shown)
    around = copy.copy(model)
    around._graphs = copy.copy(model._graphs)
    around._graphs._graphs = replace(graphs, networks=(replace(first, network=recorded),))
    settings = around.settings(tta=False, heatmaps=True)
    image = images.decode(data)
    result = around.decide(around.evaluate(image, settings, path=str(IMAGE)), settings)
    analysis = Analysis(str(IMAGE), image, result, around.provenance(settings))
    (scratch / FOLDER).mkdir(exist_ok=True)
    record, overlay = result.record(), OverlayFiles(scratch, 1, "turbo")
    parts: dict[str, Callable[[], object]] = {
        "decode a PNG, 1024x1024": lambda: images.decode(data),
        "pre-process": lambda: preprocess(pixels, size),
        NETWORK: lambda: first.network.run([tensors.probabilities], {tensors.image: shown}),
        "array → result, one variant": lambda: around.predict(pixels, tta=False),
        "array → result, all variants": lambda: around.predict(pixels, tta=True),
        "array → result, adaptive": lambda: around.predict(pixels, adaptive=True),
        "array → result, heat maps": lambda: around.predict(pixels, tta=False, heatmaps=True),
        "file → result, one variant": lambda: around.predict(str(IMAGE), tta=False),
        "write an overlay": lambda: overlay.write(analysis, record),
        "encode a result line": lambda: encode_record(result.record()),
    }
    return HotPath(parts, recorded)


def batches_of(path: HotPath) -> dict[str, Any]:
    """Return for each part how often it calls the network, and with how many inputs in all."""
    counts = {}
    for name, part in path.parts.items():
        path.network.batches.clear()
        part()
        if path.network.batches:
            counts[f"{name}: calls"] = len(path.network.batches)
            counts[f"{name}: inputs"] = sum(path.network.batches)
    return counts
