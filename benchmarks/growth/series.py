"""The four series of runs: by images, by size, by cores and by batch."""

import os
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import typer

from benchmarks.growth.figures import fit_line, memory, throughput
from benchmarks.growth.folders import make_folder, resize_images
from benchmarks.growth.network import TIMED
from benchmarks.growth.processes import Run, infer, watch
from cxr_edge.support.parallel import usable_cores

#: From this many images on there is one round: such a run is long enough to be steady.
ONE_ROUND: Final = 10_000
#: Distinct images of each size.
ENLARGED: Final = 8


def by_images(paths: Sequence[Path], counts: Sequence[int], rounds: int, root: Path) -> dict[str, Any]:
    """Infer folders of growing length, and fit a line through the seconds."""
    folders = {count: make_folder(paths, count, root / f"images-{count}") for count in counts}
    candidates = {count: partial(infer, folders[count], count) for count in counts}
    runs = _interleaved(candidates, rounds)
    rows = [{"images": count, **throughput(count, runs[count]), **memory(runs[count])} for count in counts]
    return {"rows": rows, "fit": fit_line(counts, [row["seconds"] for row in rows])}


def by_size(paths: Sequence[Path], sides: Sequence[int], each: int, rounds: int, root: Path) -> dict[str, Any]:
    """Infer the same images enlarged and shrunk."""
    folders = {
        side: make_folder(resize_images(paths[:ENLARGED], side, root / f"resized-{side}"), each, root / f"side-{side}")
        for side in sides
    }
    candidates = {side: partial(infer, folders[side], each) for side in sides}
    runs = _interleaved(candidates, rounds)
    return {"rows": [{"side": s, "images": each, **throughput(each, runs[s]), **memory(runs[s])} for s in sides]}


def by_cores(paths: Sequence[Path], each: int, rounds: int, root: Path) -> dict[str, Any]:
    """Infer the same images on one core, two, four and so on up to all."""
    if not hasattr(os, "sched_setaffinity"):
        return {"rows": [], "skipped": "this system does not let a process choose its cores"}
    folder = make_folder(paths, each, root / "cores")
    total = usable_cores()
    numbers = sorted({total, *(2**i for i in range(total.bit_length()) if 2**i <= total)})
    candidates = {number: partial(infer, folder, each, number) for number in numbers}
    runs = _interleaved(candidates, rounds)
    return {"rows": [{"cores": n, "images": each, **throughput(each, runs[n]), **memory(runs[n])} for n in numbers]}


def by_batch(paths: Sequence[Path], batches: Sequence[int], rounds: int) -> dict[str, Any]:
    """Run the network alone on one thread, in a process for each batch."""
    command = [sys.executable, "-m", "benchmarks.growth.network"]
    images = [str(path.resolve()) for path in paths[:TIMED]]
    candidates = {n: partial(watch, [*command, str(n), *images]) for n in batches}
    runs = _interleaved(candidates, rounds)
    rows = []
    for batch in batches:
        rates = [1 / float(run.output) for run in runs[batch]]
        rate = {"images_per_second": statistics.median(rates), "rounds": len(rates)}
        rows.append({"batch": batch, **rate, "peak_mib": max(run.peak for run in runs[batch])})
    return {"rows": rows}


def _interleaved(candidates: Mapping[int, Callable[[], Run]], rounds: int) -> dict[int, list[Run]]:
    """Run every candidate once a round, so that the machine's noise affects all alike."""
    runs: dict[int, list[Run]] = {number: [] for number in candidates}
    for turn in range(rounds):
        for number, run in candidates.items():
            if turn == 0 or number < ONE_ROUND:
                runs[number].append(run())
                typer.echo(f"round {turn + 1}: {number} done in {runs[number][-1].seconds:.1f} s", err=True)
    return runs
