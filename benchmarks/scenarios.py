"""MLPerf Inference's edge scenarios, driven by MLCommons' LoadGen: ``python -m benchmarks.scenarios``.

One sample is one study, which is one film. SingleStream sends one film after the other to a model whose threads share
each of them; MultiStream (eight films a query) and Offline (all films at once) work on one film per core. Films are in
memory, as bytes or as arrays: reading a disk is no part of any boundary. The figures are LoadGen's own; they are no
MLPerf results.
"""

import json
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import Enum
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, Final

import cv2
import numpy as np
import numpy.typing as npt
import simplejpeg
import typer
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Column, Table

import cxr_edge
from benchmarks.measure import machine
from cxr_edge.backends import Resources, usable_cores
from cxr_edge.bundle import Bundle, read_bundle
from cxr_edge.graphs import open_graphs
from cxr_edge.images import read_film
from cxr_edge.parallel import map_in_order
from cxr_edge.preprocess import preprocess

try:
    import mlperf_loadgen as loadgen
except ModuleNotFoundError as missing:
    raise ModuleNotFoundError(
        "the scenarios are driven by MLCommons' LoadGen, which is not installed: pip install mlcommons-loadgen"
    ) from missing

SAMPLES: Final = Path(__file__).parent.parent / "samples"
MOST_FILMS: Final = 64
JPEG_QUALITY: Final = 92
PERCENTILES: Final = (50, 90, 97, 99)
NOTE: Final = (
    "Not MLPerf results: LoadGen ran with a minimum duration of {seconds:g} s and no minimum number of queries, where "
    "MLPerf's rules ask for at least 600 s, fixed numbers of queries, and an accuracy run. INVALID is LoadGen's own "
    "verdict on such a short run."
)


class Scenario(str, Enum):
    """MLPerf Inference's scenarios for the edge."""

    SINGLE_STREAM = "SingleStream"
    MULTI_STREAM = "MultiStream"
    OFFLINE = "Offline"


@dataclass(frozen=True)
class Boundary:
    """What is timed of the way of a film.

    Attributes
    ----------
    name : str
    samples : sequence
        What goes in, one for each film.
    run : callable
        Takes one of them.
    views : int
        Inputs of one call of the network.
    """

    name: str
    samples: Sequence[Any]
    run: Callable[[Any], object]
    views: int = 1


@dataclass(frozen=True)
class Concurrency:
    """Threads that share one film, and films in work at the same time."""

    threads: int
    workers: int


@dataclass(frozen=True)
class Films:
    """The same films as they enter each boundary.

    Attributes
    ----------
    png, jpeg : list of bytes
    pixels : list of ndarray, (H, W) uint8
    """

    png: list[bytes]
    jpeg: list[bytes]
    pixels: list[npt.NDArray[np.uint8]]


class SystemUnderTest:
    """Answer LoadGen's queries.

    Every sample is completed, failed or not: LoadGen waits for all of them, and an exception that crosses into it
    ends the process. After a failure the samples left are completed without work, so that the run ends soon.

    Attributes
    ----------
    error : Exception or None
        The first failure.
    """

    def __init__(self, boundary: Boundary, workers: int) -> None:
        self.error: Exception | None = None
        self._stopped = False
        self._boundary = boundary
        # One film at a time is run in LoadGen's own thread: no hand-over that would count as latency.
        self._pool = ThreadPoolExecutor(workers) if workers > 1 else None

    def take(self, queries: Sequence[loadgen.QuerySample]) -> None:
        """Take a query's samples; LoadGen calls it."""
        for query in queries:
            if self._pool is None:
                self._answer(query.id, query.index)
            else:
                self._pool.submit(self._answer, query.id, query.index)

    def flush(self) -> None:
        """Nothing waits for more queries; LoadGen calls it."""

    def stop(self) -> None:
        """Complete what comes from now on without work."""
        self._stopped = True

    def close(self) -> None:
        """Wait for the threads to end."""
        if self._pool is not None:
            self._pool.shutdown()

    def _answer(self, query: int, index: int) -> None:
        try:
            if not self._stopped:
                self._boundary.run(self._boundary.samples[index])
        except Exception as error:  # whatever it is, it is told by `measure`, once LoadGen has ended
            self.error = self.error or error
            self.stop()
        finally:
            loadgen.QuerySamplesComplete([loadgen.QuerySampleResponse(query, 0, 0)])


def main(
    films: Annotated[Path, typer.Option(help="Folder of PNG films.", exists=True, file_okay=False)] = SAMPLES,
    device: Annotated[str, typer.Option(metavar="NAME", help="As for cxr-edge infer.")] = "cpu",
    precision: Annotated[
        str | None, typer.Option(metavar="NAME", help="A variant of the bundle.", show_default="as the device prefers")
    ] = None,
    root: Annotated[
        Path | None, typer.Option("--bundle", metavar="DIR", help="Model bundle.", show_default="the shipped one")
    ] = None,
    scenarios: Annotated[
        list[Scenario] | None, typer.Option("--scenario", help="Only this one; repeatable.", show_default="all")
    ] = None,
    tta: Annotated[bool, typer.Option("--tta/--no-tta", help="Measure six views, too.")] = True,
    cam: Annotated[bool, typer.Option("--cam/--no-cam", help="Measure heat maps, too.")] = True,
    seconds: Annotated[float, typer.Option(min=0.1, help="Least duration of each run.")] = 10.0,
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the figures here as JSON.")] = None,
) -> None:
    """Measure latency and throughput in MLPerf Inference's edge scenarios, boundary by boundary."""
    paths = sorted(films.glob("*.png"))
    if not paths:
        raise typer.BadParameter(f"{films} holds no PNG file", param_hint="--films")
    cv2.setNumThreads(1)  # as `cxr-edge infer` has it
    bundle, read = read_bundle(root), read_films(_spread(paths, MOST_FILMS))
    figures: dict[str, Any] = {
        "note": NOTE.format(seconds=seconds),
        "machine": machine(),
        "loadgen": version("mlcommons-loadgen"),
        "bundle": bundle.identity,
        "films": len(read.png),
        "seconds": seconds,
        "opencv_threads": cv2.getNumThreads(),
        "rows": [],
    }
    for scenario in scenarios or Scenario:
        concurrency = concurrency_of(scenario, usable_cores())
        model = cxr_edge.Model(bundle, device, precision, Resources(threads=concurrency.threads))
        figures |= {"device": model.device, "precision": model.precision, "gate": _gate(bundle, model.precision)}
        for boundary in boundaries(model, bundle, concurrency.threads, read, tta=tta, cam=cam):
            typer.echo(f"{scenario.value}: {boundary.name} …", err=True)
            figures["rows"].append(measure(boundary, scenario, concurrency, seconds))
    _print(figures)
    if out is not None:
        out.write_text(json.dumps(figures, indent=2) + "\n")


def read_films(paths: Sequence[Path]) -> Films:
    """Read films, decode them, and code them as JPEG."""
    pixels = [read_film(path).pixels for path in paths]
    return Films(
        png=[path.read_bytes() for path in paths],
        jpeg=[simplejpeg.encode_jpeg(p[..., np.newaxis], quality=JPEG_QUALITY, colorspace="GRAY") for p in pixels],
        pixels=pixels,
    )


def concurrency_of(scenario: Scenario, cores: int) -> Concurrency:
    """Put all cores on one film for the shortest latency, or one film on each for the most films a second."""
    if scenario is Scenario.SINGLE_STREAM:
        return Concurrency(threads=cores, workers=1)
    return Concurrency(threads=1, workers=cores)


def boundaries(
    model: cxr_edge.Model, bundle: Bundle, threads: int, films: Films, *, tta: bool, cam: bool
) -> Iterator[Boundary]:
    """Give what is measured, from the inside to the outside.

    Heat maps are the (15, 7, 7) maps that a result keeps; a caller's `Result.heatmap` enlarges them later.
    """
    manifest = bundle.manifest
    names = manifest.tensors
    network = open_graphs(bundle, model.device, model.precision, Resources(threads=threads)).network
    inputs = [preprocess(pixels, manifest.input.size)[np.newaxis] for pixels in films.pixels]
    yield Boundary("engine only", inputs, lambda batch: network.run([names.probabilities], {names.image: batch}))
    yield Boundary("array → result", films.pixels, lambda pixels: model.predict(pixels, tta=False))
    yield Boundary("PNG → result", films.png, lambda data: model.predict(data, tta=False))
    yield Boundary("JPEG → result", films.jpeg, lambda data: model.predict(data, tta=False))
    if tta:
        views = len(manifest.views)
        yield Boundary(
            f"array → result, {views} views", films.pixels, lambda pixels: model.predict(pixels, tta=True), views
        )
    if cam:
        yield Boundary(
            "array → result, heat maps", films.pixels, lambda pixels: model.predict(pixels, tta=False, heatmaps=True)
        )


def measure(boundary: Boundary, scenario: Scenario, concurrency: Concurrency, seconds: float) -> dict[str, Any]:
    """Let LoadGen time one boundary in one scenario.

    Parameters
    ----------
    boundary : Boundary
    scenario : Scenario
    concurrency : Concurrency
    seconds : float
        Least duration of the run.

    Raises
    ------
    RuntimeError
        The system under test failed; its error is the cause.
    """
    system = SystemUnderTest(boundary, concurrency.workers)
    try:
        settings = _settings(scenario, seconds, _warm_up(boundary, concurrency.workers))
        with tempfile.TemporaryDirectory(prefix="cxr-edge-loadgen-") as folder:
            _drive(system, len(boundary.samples), settings, folder)
            told = _read_log(Path(folder) / "mlperf_log_detail.txt")
    except Exception as error:
        system.error = system.error or error
    finally:
        system.close()
    if system.error is not None:
        fault = f"{type(system.error).__name__}: {system.error}"
        raise RuntimeError(f"{scenario.value}, {boundary.name}: the run failed ({fault})") from system.error
    return {
        "scenario": scenario.value,
        "boundary": boundary.name,
        "threads": concurrency.threads,
        "workers": concurrency.workers,
        "batch": boundary.views,
        **_figures(scenario, told),
    }


def _warm_up(boundary: Boundary, workers: int) -> float:
    """Run some samples as the scenario will, twice; give the faster pass's seconds per sample."""
    samples = [boundary.samples[i % len(boundary.samples)] for i in range(max(8, 2 * workers))]
    passes = []
    for _ in range(2):
        start = time.perf_counter()
        for _ in map_in_order(boundary.run, samples, workers):
            pass
        passes.append((time.perf_counter() - start) / len(samples))
    return min(passes)


def _settings(scenario: Scenario, seconds: float, per_sample: float) -> loadgen.TestSettings:
    settings = loadgen.TestSettings()
    settings.scenario = getattr(loadgen.TestScenario, scenario.value)
    settings.mode = loadgen.TestMode.PerformanceOnly
    settings.min_duration_ms = round(seconds * 1e3)
    settings.min_query_count = 1
    # LoadGen prepares its queries by what it is told to expect, and ends early where they run out: half the time of
    # the warm-up leaves enough. Offline has one query of 1.1 times what it expects to fit into the duration.
    settings.single_stream_expected_latency_ns = round(per_sample * 1e9 / 2)
    settings.multi_stream_expected_latency_ns = round(per_sample * settings.multi_stream_samples_per_query * 1e9 / 2)
    settings.offline_expected_qps = 1.1 / per_sample
    return settings


def _drive(system: SystemUnderTest, count: int, settings: loadgen.TestSettings, folder: str) -> None:
    """Run LoadGen to its end, in a thread of its own: Ctrl-C must not strike inside one of its callbacks."""
    logs = loadgen.LogSettings()
    logs.log_output.outdir = folder
    logs.log_output.copy_summary_to_stdout = False
    logs.enable_trace = False
    sut = loadgen.ConstructSUT(system.take, system.flush)
    library = loadgen.ConstructQSL(count, count, lambda _: None, lambda _: None)  # the films are in memory already
    try:
        with ThreadPoolExecutor(1) as driver:
            try:
                driver.submit(loadgen.StartTestWithLogSettings, sut, library, settings, logs).result()
            except KeyboardInterrupt:
                system.stop()
                raise
    finally:
        loadgen.DestroyQSL(library)
        loadgen.DestroySUT(sut)


def _read_log(path: Path) -> dict[str, Any]:
    prefix = ":::MLLOG "
    entries = [json.loads(line.removeprefix(prefix)) for line in path.read_text().splitlines() if prefix in line]
    return {entry["key"]: entry["value"] for entry in entries}


def _figures(scenario: Scenario, told: dict[str, Any]) -> dict[str, Any]:
    """Take LoadGen's figures out of its log.

    Offline has no latency: all samples are asked for at once.
    """
    queries, per_query = told["result_query_count"], told["generated_samples_per_query"]
    if scenario is Scenario.OFFLINE:
        latency, rate = None, told["result_samples_per_second"]
    else:
        kind = "" if scenario is Scenario.SINGLE_STREAM else "_per_query"
        latency = {f"p{p}": told[f"result_{p:.2f}_percentile{kind}_latency_ns"] / 1e6 for p in PERCENTILES}
        mean = told["result_mean_latency_ns" if scenario is Scenario.SINGLE_STREAM else "result_mean_query_latency_ns"]
        rate = per_query * 1e9 / mean
    return {
        "metric": {"SingleStream": "p90", "MultiStream": "p99", "Offline": "samples_per_second"}[scenario.value],
        "samples_per_query": per_query,
        "queries": queries,
        "samples": queries * per_query,
        "latency_ms": latency,
        "samples_per_second": rate,
        "verdict": told["result_validity"],
        "reasons": _reasons(told),
    }


def _reasons(told: dict[str, Any]) -> list[str]:
    """Say why LoadGen calls a run INVALID."""
    conditions = {
        "result_min_duration_met": f"shorter than {told['effective_min_duration_ms']} ms",
        "result_min_queries_met": f"fewer than {told['effective_min_query_count']} queries",
        "early_stopping_met": " ".join(told["early_stopping_result"].replace("*", "").split()),
    }
    reasons = [reason for key, reason in conditions.items() if told.get(key) is False]
    advice = told.get("result_invalid_reason", "").strip()
    return [*reasons, advice] if advice else reasons


def _gate(bundle: Bundle, precision: str) -> dict[str, Any] | None:
    variant = bundle.manifest.variants.get(precision)
    return None if variant is None else variant.gate


def _spread(paths: Sequence[Path], most: int) -> list[Path]:
    """Take films evenly over the folder, so that all fit in memory."""
    count = min(len(paths), most)
    return [paths[i * len(paths) // count] for i in range(count)]


def _print(figures: dict[str, Any]) -> None:
    console = Console()
    console.print(
        f"{figures['bundle']} on {figures['device']} in {figures['precision']}, {figures['films']} films; "
        f"{figures['machine']['processor']}",
        highlight=False,
    )
    for scenario in dict.fromkeys(row["scenario"] for row in figures["rows"]):
        _print_scenario(console, scenario, [row for row in figures["rows"] if row["scenario"] == scenario])
    console.print(figures["note"], highlight=False)


def _print_scenario(console: Console, scenario: str, rows: list[dict[str, Any]]) -> None:
    first = rows[0]
    table = Table(
        Column("boundary", no_wrap=True),
        *(Column(name, justify="right") for name in ("queries", *(f"p{p} ms" for p in PERCENTILES), "films/s")),
        "LoadGen",
        title=f"{scenario}: {first['metric']}; films at a time {first['workers']}, threads for each {first['threads']}",
        box=SIMPLE,
        padding=(0, 0),
    )
    for row in rows:
        latency = row["latency_ms"] or {}
        table.add_row(
            row["boundary"],
            f"{row['queries']} x {row['samples_per_query']}",
            *(f"{latency[f'p{p}']:.2f}" if latency else "" for p in PERCENTILES),
            f"{row['samples_per_second']:.1f}",
            row["verdict"],
        )
    console.print(table)
    for row in rows:
        if row["reasons"]:
            console.print(f"{row['boundary']}: {'; '.join(row['reasons'])}", markup=False, highlight=False)


if __name__ == "__main__":
    typer.run(main)
