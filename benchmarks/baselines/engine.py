"""The network of cxr-edge alone: a pre-processed array → probabilities."""

from typing import Any

import numpy as np

from benchmarks.baselines.flops import count_flops
from cxr_edge.backends import ONE_THREAD
from cxr_edge.images import read_image
from cxr_edge.model.bundle import read_bundle
from cxr_edge.model.graphs import open_graphs
from cxr_edge.model.preprocess import preprocess

#: Inputs of one run, in batches: enough for an accurate time, few enough for a short round.
INPUTS = 24


class Engine:
    """The network on one thread: one input, or all TTA variants, at a time. Its work counts operations."""

    def __init__(self, images: list[str], tta: bool = False) -> None:
        bundle = read_bundle()
        batch = len(bundle.manifest.tta.variants) if tta else 1
        tensors = bundle.manifest.tensors
        self._graph = open_graphs(bundle, "cpu", None, ONE_THREAD).networks[0].network
        image = preprocess(read_image(images[0]).pixels, bundle.manifest.input.size)
        self._feeds = {tensors.image: np.repeat(image[np.newaxis], batch, axis=0)}
        self._outputs = [tensors.probabilities]
        self._repeats = max(1, INPUTS // batch)
        precision = bundle.manifest.default_variant
        flops = count_flops(bundle.files[bundle.manifest.graph_files(precision)[0]])
        self.work = flops * batch * self._repeats
        self.settings: dict[str, Any] = {
            "bundle": bundle.identity,
            "precision": precision,
            "device": self._graph.device,
            "threads": 1,
            "batch": batch,
            "mflop_per_input": round(flops / 1e6, 1),
        }

    def run(self) -> None:
        """Compute the batch several times."""
        for _ in range(self._repeats):
            self._graph.run(self._outputs, self._feeds)
