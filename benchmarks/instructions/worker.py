"""The process that is counted; it prints its results as JSON.

``instructions`` runs under callgrind, which writes its counts at every `MARKER`; ``rest`` runs without.
"""

import gc
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

import cv2

import cxr_edge
from benchmarks.instructions.allocations import allocated
from benchmarks.instructions.nodes import count_nodes, optimised
from benchmarks.instructions.paths import NETWORK, HotPath, batches_of, hot_path
from cxr_edge.model.bundle import read_bundle

#: A function of the C library that nothing else calls here, and the Python function that calls it.
MARKER: Final = "getppid"
_mark: Final = os.getppid

#: Images before those that are counted, and images that are counted; `MANY` for parts that are not listed. The network
#: was warmed up when its answer was recorded.
_WARM_UP: Final = {NETWORK: 0}
IMAGES: Final = {NETWORK: 1}
MANY: Final = 2


def main(what: str) -> None:
    """Count one image after another, on one thread."""
    cv2.setNumThreads(1)
    model = cxr_edge.load(device="cpu", threads=1)
    with tempfile.TemporaryDirectory() as scratch:
        path = hot_path(model, Path(scratch))
        results = _run_marked(path) if what == "instructions" else _count_rest(path)
    print(json.dumps(results))


def _run_marked(path: HotPath) -> dict[str, Any]:
    for name, part in path.parts.items():
        for _ in range(_WARM_UP.get(name, MANY)):
            part()
        gc.collect()
        gc.disable()  # or a collection would count for the part in which it happens
        _mark()
        for _ in range(IMAGES.get(name, MANY)):
            part()
        _mark()
        gc.enable()
    return {
        "images": {name: IMAGES.get(name, MANY) for name in path.parts},
        "processor": cv2.getCPUFeaturesLine(),
    }


def _count_rest(path: HotPath) -> dict[str, dict[str, int]]:
    calls = batches_of(path)  # this is also the warm-up
    memory = {name: allocated(part) for name, part in path.parts.items()}
    bundle = read_bundle()
    nodes = {}
    for graph in bundle.manifest.graph_files(bundle.manifest.default_variant):
        nodes[f"nodes of {graph}"] = count_nodes(bundle.files[graph])
        nodes[f"nodes of {graph}, optimised"] = count_nodes(optimised(bundle.files[graph]))
    return {
        "bytes allocated": {name: total for name, (total, _) in memory.items()},
        "bytes at the peak": {name: peak for name, (_, peak) in memory.items()},
        "network": calls,
        **nodes,
    }


if __name__ == "__main__":
    main(sys.argv[1])
