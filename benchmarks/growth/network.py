"""The process of a run by batch: the network alone. It imports only what it runs, because its memory is measured."""

import sys
import time
from collections.abc import Sequence
from itertools import cycle, islice
from typing import Final

import numpy as np

from cxr_edge.backends import Resources
from cxr_edge.images import read_image
from cxr_edge.model.bundle import read_bundle
from cxr_edge.model.graphs import open_graphs
from cxr_edge.model.preprocess import preprocess

#: Images in one timing.
TIMED: Final = 64


def time_network(batch: int, paths: Sequence[str]) -> None:
    """Print the network's seconds per image, one thread, from pre-processed images to probabilities."""
    bundle = read_bundle()
    names, size = bundle.manifest.tensors, bundle.manifest.input.size
    network = open_graphs(bundle, "cpu", None, Resources(threads=1)).networks[0].network
    inputs = np.stack([preprocess(read_image(path).pixels, size) for path in islice(cycle(paths), batch)])
    calls = -(-TIMED // batch)
    network.run([names.probabilities], {names.image: inputs})
    start = time.perf_counter()
    for _ in range(calls):
        network.run([names.probabilities], {names.image: inputs})
    print((time.perf_counter() - start) / (calls * batch))


if __name__ == "__main__":
    time_network(int(sys.argv[1]), sys.argv[2:])
