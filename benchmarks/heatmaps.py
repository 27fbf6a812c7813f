"""What the maps of all 15 labels cost on top of inference, array in, maps out, one thread."""

from pathlib import Path
from typing import Any

import cxr_edge
from benchmarks.measure import interleaved, summary
from cxr_edge.images import read_film


def measure_heatmaps(films: list[Path], rounds: int) -> dict[str, Any]:
    """Compare inference with the maps of all labels against inference alone, with one view and six."""
    model = cxr_edge.load(device="cpu", threads=1)
    pixels = [read_film(path).pixels for path in films]
    figures = {}
    for mode, tta in (("one view", False), ("six views", True)):
        candidates = {
            name: lambda heatmaps=heatmaps, tta=tta: [model.predict(p, tta=tta, heatmaps=heatmaps) for p in pixels]
            for name, heatmaps in (("inference", False), ("inference and 15 maps", True))
        }
        figures[mode] = summary(interleaved(candidates, rounds), baseline="inference")
    return {"timed": f"{len(films)} films one after the other, one thread", **figures}
