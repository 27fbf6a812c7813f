"""What grows with what: time and memory by films, image size, cores and batch: ``python -m benchmarks.growth``.

Every run is a process of its own, ``python -m cxr_edge infer FOLDER --no-tta --out RUN``, or the network alone for the
batch; its resident memory is looked at every few milliseconds. Folders hold hard links to real films, so that
10,000 names take the disk of a few files, which the system will keep in its cache: the speed of a disk is not measured.
"""

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from typing import Annotated, Any, Final

import cv2
import numpy as np
import psutil
import typer

from benchmarks.measure import machine
from cxr_edge.backends import Resources, usable_cores
from cxr_edge.bundle import read_bundle
from cxr_edge.graphs import open_graphs
from cxr_edge.images import read_film
from cxr_edge.preprocess import preprocess

ROOT: Final = Path(__file__).parent.parent
SAMPLES: Final = ROOT / "samples"
SAMPLING_SECONDS: Final = 0.02
#: From this many films on, one round: a run is long enough to be steady by itself.
ONE_ROUND: Final = 10_000
#: Distinct films of each size, and films in one timing of the network.
ENLARGED: Final = 8
TIMED: Final = 64
#: How far the memory of a flat run's last third may lie from that of its middle third.
FLAT: Final = 0.05
MEBIBYTE: Final = 2**20

_TIME_NETWORK = "import sys; from benchmarks.growth import time_network; time_network(int(sys.argv[1]), sys.argv[2:])"


@dataclass(frozen=True)
class Run:
    """One process, watched from its start to its end.

    Attributes
    ----------
    seconds : float
        From start to end.
    first_line : float or None
        Seconds to the first result, which is what starting costs; None where none was seen before the end.
    memory : list of (float, float)
        Seconds since the start, resident memory in MiB.
    output : str
        What it printed.
    """

    seconds: float
    first_line: float | None
    memory: list[tuple[float, float]]
    output: str

    @property
    def peak(self) -> float:
        """Highest resident memory seen, MiB."""
        return max(resident for _, resident in self.memory)


def main(
    films: Annotated[Path, typer.Option(help="Folder of PNG films.", exists=True, file_okay=False)] = SAMPLES,
    counts: Annotated[str, typer.Option(help="Numbers of films.")] = "100,1000,10000",
    sides: Annotated[str, typer.Option(help="Longer sides of the films in pixels.")] = "512,1024,2048,4000",
    batches: Annotated[str, typer.Option(help="Films in one call of the network.")] = "1,2,4,8,16,32",
    each: Annotated[int, typer.Option(min=2, help="Films in the runs by size and by cores.")] = 200,
    rounds: Annotated[int, typer.Option(min=1, help=f"Rounds; one with {ONE_ROUND} films or more.")] = 3,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="Write growth.json, .md and .png here.")] = None,
) -> None:
    """Measure how time and memory grow with the number of films, their size, the cores and the batch."""
    paths = sorted(films.glob("*.png"))
    if not paths:
        raise typer.BadParameter(f"{films} holds no PNG file", param_hint="--films")
    numbers = {"--counts": counts, "--sides": sides, "--batches": batches}
    wanted = {option: _numbers(text, option) for option, text in numbers.items()}
    with tempfile.TemporaryDirectory(prefix="cxr-edge-growth-") as folder:
        root = Path(folder)
        figures = {
            "machine": machine(),
            "bundle": read_bundle().identity,
            "distinct_films": len(paths),
            "rounds": rounds,
            "memory_sampled_every_s": SAMPLING_SECONDS,
            "films": by_films(paths, wanted["--counts"], rounds, root),
            "size": by_size(paths, wanted["--sides"], each, rounds, root),
            "cores": by_cores(paths, each, rounds, root),
            "batch": by_batch(paths, wanted["--batches"], rounds),
        }
    text = markdown(figures)
    typer.echo(text)
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        (out / "growth.json").write_text(json.dumps(figures, indent=1) + "\n")
        (out / "growth.md").write_text(text + "\n", encoding="utf-8")
        plot(figures, out / "growth.png")


def by_films(paths: Sequence[Path], counts: Sequence[int], rounds: int, root: Path) -> dict[str, Any]:
    """Infer folders of growing length, and fit a line through the seconds."""
    folders = {count: make_folder(paths, count, root / f"films-{count}") for count in counts}
    candidates = {count: partial(infer, folders[count], count) for count in counts}
    runs = _interleaved(candidates, rounds)
    rows = [{"films": count, **_throughput(count, runs[count]), **_memory(runs[count])} for count in counts]
    return {"rows": rows, "fit": fit_line(counts, [row["seconds"] for row in rows])}


def by_size(paths: Sequence[Path], sides: Sequence[int], each: int, rounds: int, root: Path) -> dict[str, Any]:
    """Infer the same films enlarged and shrunk."""
    folders = {
        side: make_folder(resize_films(paths[:ENLARGED], side, root / f"resized-{side}"), each, root / f"side-{side}")
        for side in sides
    }
    candidates = {side: partial(infer, folders[side], each) for side in sides}
    runs = _interleaved(candidates, rounds)
    return {"rows": [{"side": s, "films": each, **_throughput(each, runs[s]), **_memory(runs[s])} for s in sides]}


def by_cores(paths: Sequence[Path], each: int, rounds: int, root: Path) -> dict[str, Any]:
    """Infer the same films on one core, two, four and so on up to all."""
    if not hasattr(os, "sched_setaffinity"):
        return {"rows": [], "skipped": "this system does not let a process choose its cores"}
    folder = make_folder(paths, each, root / "cores")
    total = usable_cores()
    numbers = sorted({total, *(2**i for i in range(total.bit_length()) if 2**i <= total)})
    candidates = {number: partial(infer, folder, each, number) for number in numbers}
    runs = _interleaved(candidates, rounds)
    return {"rows": [{"cores": n, "films": each, **_throughput(each, runs[n]), **_memory(runs[n])} for n in numbers]}


def by_batch(paths: Sequence[Path], batches: Sequence[int], rounds: int) -> dict[str, Any]:
    """Run the network alone on one thread, in a process for each batch."""
    command = [sys.executable, "-c", _TIME_NETWORK]
    films = [str(path.resolve()) for path in paths[:TIMED]]
    candidates = {n: partial(watch, [*command, str(n), *films]) for n in batches}
    runs = _interleaved(candidates, rounds)
    rows = []
    for batch in batches:
        rates = [1 / float(run.output) for run in runs[batch]]
        rate = {"films_per_second": statistics.median(rates), "rounds": len(rates)}
        rows.append({"batch": batch, **rate, "peak_mib": max(run.peak for run in runs[batch])})
    return {"rows": rows}


def time_network(batch: int, paths: Sequence[str]) -> None:
    """Print the network's seconds per film, one thread, from pre-processed films to probabilities."""
    bundle = read_bundle()
    names, size = bundle.manifest.tensors, bundle.manifest.input.size
    network = open_graphs(bundle, "cpu", None, Resources(threads=1)).network
    inputs = np.stack([preprocess(read_film(path).pixels, size) for path in islice(cycle(paths), batch)])
    calls = -(-TIMED // batch)
    network.run([names.probabilities], {names.image: inputs})
    start = time.perf_counter()
    for _ in range(calls):
        network.run([names.probabilities], {names.image: inputs})
    print((time.perf_counter() - start) / (calls * batch))


def make_folder(films: Sequence[Path], count: int, folder: Path) -> Path:
    """Fill a folder with `count` names of real films: copies first, then hard links to these."""
    folder.mkdir()
    for number in range(count):
        name = folder / f"{number:06d}.png"
        if number < len(films):
            shutil.copyfile(films[number], name)
        else:
            os.link(folder / f"{number % len(films):06d}.png", name)
    return folder


def resize_films(paths: Sequence[Path], side: int, folder: Path) -> list[Path]:
    """Write films with a longer side of `side` pixels as PNG; enlarged by cubic splines, shrunk by area averaging."""
    folder.mkdir()
    written = []
    for path in paths:
        pixels = read_film(path).pixels
        scale = side / max(pixels.shape)
        size = (round(pixels.shape[1] * scale), round(pixels.shape[0] * scale))
        resized = cv2.resize(pixels, size, interpolation=cv2.INTER_CUBIC if scale > 1 else cv2.INTER_AREA)
        written.append(folder / path.name)
        if not cv2.imwrite(str(written[-1]), resized):
            raise OSError(f"{written[-1]} could not be written; is the disk full?")
    return written


def infer(folder: Path, count: int, cores: int | None = None) -> Run:
    """Run ``cxr-edge infer`` on a folder as a process, and see that it answered for every film.

    Raises
    ------
    RuntimeError
        It failed, or left out films.
    """
    with tempfile.TemporaryDirectory(prefix="cxr-edge-growth-run-") as results:
        lines = Path(results) / "predictions.jsonl"
        command = [sys.executable, "-m", "cxr_edge", "infer", str(folder), "--no-tta", "--out", results]
        with _on_cores(cores):
            run = watch(command, lines)
        answered = len(lines.read_bytes().splitlines())
    if answered != count:
        raise RuntimeError(f"expected {count} lines of results, got {answered}: {run.output[-1000:]}")
    return run


def watch(command: Sequence[str], lines: Path | None = None) -> Run:
    """Run a process and look at its resident memory until it ends.

    Raises
    ------
    RuntimeError
        It ended with another status than 0.
    """
    memory: list[tuple[float, float]] = []
    first_line = None
    with tempfile.TemporaryFile("w+") as output:
        start = time.perf_counter()
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, cwd=ROOT)
        looked_at = psutil.Process(process.pid)
        try:
            while process.poll() is None:
                now = time.perf_counter() - start
                memory.append((now, _resident(looked_at)))
                if first_line is None and lines is not None and lines.exists() and lines.stat().st_size:
                    first_line = now
                _wait(process)
            seconds = time.perf_counter() - start
        finally:
            process.kill()
            process.wait()
        output.seek(0)
        told = output.read()
    if process.returncode != 0:
        raise RuntimeError(f"{' '.join(command[1:4])} … ended with status {process.returncode}: {told[-1000:]}")
    # A process that is ending, or has not begun yet, has no memory.
    return Run(seconds, first_line, [(when, resident) for when, resident in memory if resident], told)


def fit_line(counts: Sequence[int], seconds: Sequence[float]) -> dict[str, float] | None:
    """Fit seconds = start-up + films x slope by least squares; None for fewer than two counts."""
    if len(set(counts)) < 2:
        return None
    slope, intercept = np.polyfit(counts, seconds, 1)
    residuals = np.asarray(seconds) - (intercept + slope * np.asarray(counts))
    spread = np.asarray(seconds) - np.mean(seconds)
    return {
        "ms_per_film": float(slope * 1e3),
        "start_up_s": float(intercept),
        "r_squared": float(1 - residuals @ residuals / (spread @ spread)),
    }


def trend(memory: Sequence[tuple[float, float]]) -> dict[str, Any]:
    """Say how resident memory went within a run.

    Returns
    -------
    dict
        MiB at 10, 50 and 100 % of the run (100: the last look), ``middle_third_mib`` and ``last_third_mib`` (medians),
        and ``flat``: whether these two lie within `FLAT` of each other.
    """
    when, resident = np.array(memory).T
    share = when / when[-1]
    middle = float(np.median(resident[(share >= 1 / 3) & (share <= 2 / 3)])) if len(memory) >= 3 else None
    last = float(np.median(resident[share >= 2 / 3]))
    return {
        "at_mib": {f"{int(s * 100)}%": float(resident[np.abs(share - s).argmin()]) for s in (0.1, 0.5, 1.0)},
        "middle_third_mib": middle,
        "last_third_mib": last,
        "flat": None if middle is None else abs(last - middle) <= FLAT * middle,
    }


def markdown(figures: Mapping[str, Any]) -> str:
    """Give the four tables."""
    fit = figures["films"]["fit"]
    parts = [
        f"{figures['bundle']} on {figures['machine']['processor']}, {figures['machine']['cores']} cores; one view, "
        f"from PNG files; films/s over the whole process, and after its first result; medians of {figures['rounds']} "
        f"rounds (one from {ONE_ROUND} films on); memory: resident, the highest of all rounds.",
        _table("films", figures["films"]["rows"]),
        "One count: no line can be fitted."
        if fit is None
        else f"Seconds = {fit['start_up_s']:.2f} + films x {fit['ms_per_film']:.2f} ms (R² {fit['r_squared']:.5f}).",
        _table("side", figures["size"]["rows"]),
        figures["cores"].get("skipped") or _table("cores", figures["cores"]["rows"]),
        "The network alone, one thread, by films in a call:",
        _table("batch", figures["batch"]["rows"]),
    ]
    return "\n\n".join(parts)


def plot(figures: Mapping[str, Any], file: Path) -> None:
    """Draw throughput and peak memory, a panel for each table."""
    import matplotlib as mpl  # here: the processes that are measured import this module, too

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    panels = {"films": "films", "size": "side", "cores": "cores", "batch": "batch"}
    titles = ("Number of films", "Longer side of a film, pixels", "Cores", "Films in a call (network alone, 1 thread)")
    figure, axes = plt.subplots(2, 2, figsize=(10, 7), layout="constrained")
    for panel, (part, key), title in zip(axes.flat, panels.items(), titles, strict=True):
        rows = figures[part]["rows"]
        if not rows:
            panel.set_title(f"{title}: {figures[part]['skipped']}")
            continue
        values = [row[key] for row in rows]
        panel.set(title=title, xscale="log")
        _curve(panel, values, [row["films_per_second"] for row in rows], "films/s", "tab:blue")
        _curve(panel.twinx(), values, [row["peak_mib"] for row in rows], "peak resident memory, MiB", "tab:red")
        panel.set_xticks(values, [str(value) for value in values])
        panel.minorticks_off()
    figure.savefig(file, dpi=120)
    plt.close(figure)


def _curve(axes: Any, values: Sequence[int], heights: Sequence[float], label: str, color: str) -> None:
    axes.plot(values, heights, "o-", color=color)
    axes.set_ylabel(label, color=color)
    axes.set_ylim(0, 1.1 * max(heights))


def _interleaved(candidates: Mapping[int, Callable[[], Run]], rounds: int) -> dict[int, list[Run]]:
    """Run every candidate once a round, so that the machine's noise meets all alike."""
    runs: dict[int, list[Run]] = {number: [] for number in candidates}
    for turn in range(rounds):
        for number, run in candidates.items():
            if turn == 0 or number < ONE_ROUND:
                runs[number].append(run())
                typer.echo(f"round {turn + 1}: {number} done in {runs[number][-1].seconds:.1f} s", err=True)
    return runs


def _throughput(count: int, runs: Sequence[Run]) -> dict[str, Any]:
    seconds = [run.seconds for run in runs]
    after_first = [(count - 1) / (run.seconds - run.first_line) for run in runs if run.first_line is not None]
    return {
        "rounds": len(runs),
        "seconds": statistics.median(seconds),
        "seconds_spread": [min(seconds), max(seconds)],
        "films_per_second": count / statistics.median(seconds),
        "films_per_second_after_first": statistics.median(after_first) if after_first else None,
    }


def _memory(runs: Sequence[Run]) -> dict[str, Any]:
    """Describe the run that took the most memory."""
    most = max(runs, key=lambda run: run.peak)
    shown = most.memory[:: max(1, len(most.memory) // 100)]
    curve = [(round(when, 2), round(resident, 1)) for when, resident in shown]
    return {"peak_mib": most.peak, **trend(most.memory), "mib_over_seconds": curve}


def _resident(process: psutil.Process) -> float:
    try:
        return float(process.memory_info().rss) / MEBIBYTE
    except (psutil.NoSuchProcess, psutil.AccessDenied):  # it ended since it was last looked at
        return 0.0


def _wait(process: subprocess.Popen[bytes]) -> None:
    try:
        process.wait(SAMPLING_SECONDS)
    except subprocess.TimeoutExpired:
        return


@contextmanager
def _on_cores(number: int | None) -> Iterator[None]:
    """Keep this thread to some of its cores, and with it the processes it starts."""
    if number is None:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(before)[:number])
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _table(key: str, rows: Sequence[Mapping[str, Any]]) -> str:
    """Write a Markdown table of the columns that the rows have."""
    columns: dict[str, Callable[[Mapping[str, Any]], str]] = {
        key: lambda row: str(row[key]),
        "films/s": lambda row: f"{row['films_per_second']:.1f}",
    }
    if "films_per_second_after_first" in rows[0]:
        columns["after the first"] = lambda row: _rounded(row["films_per_second_after_first"])
    columns["rounds"] = lambda row: str(row["rounds"])
    columns["peak MiB"] = lambda row: f"{row['peak_mib']:.0f}"
    if key == "films":
        columns["MiB at 10 / 50 / 100 %"] = lambda row: " / ".join(f"{mib:.0f}" for mib in row["at_mib"].values())
        columns["flat"] = lambda row: {True: "yes", False: "no", None: "too short to say"}[row["flat"]]
    lines = [list(columns), ["---"] * len(columns), *([tell(row) for tell in columns.values()] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _rounded(rate: float | None) -> str:
    return "–" if rate is None else f"{rate:.1f}"


def _numbers(text: str, option: str) -> list[int]:
    try:
        numbers = [int(part) for part in text.split(",")]
    except ValueError as error:
        raise typer.BadParameter(
            f"expected whole numbers with commas between, got {text!r}", param_hint=option
        ) from error
    if min(numbers) < 1 or len(set(numbers)) < len(numbers):
        raise typer.BadParameter(f"expected different numbers of at least 1, got {text!r}", param_hint=option)
    return numbers


if __name__ == "__main__":
    typer.run(main)
