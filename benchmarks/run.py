"""One run of the comparisons: prepare, measure interleaved, compare the probabilities, make the record."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from benchmarks.comparisons import EXPORTS, PROCESS, Comparison, Contestant, Row
from benchmarks.measure import load_average, machine, ratio, self_timed, spread
from benchmarks.workers import NotMeasured, Task, Worker, WorkerFailed
from cxr_edge.model.bundle import Bundle
from cxr_edge.model.calibration import calibrate

FORMAT: Final = 2
#: Seconds between two runs, in which idle threads of the last one stop spinning.
PAUSE: Final = 0.25
WARM_UP: Final = 1

Answers = npt.NDArray[np.float64]
Progress = Callable[[str], None]


def measure(
    bundle: Bundle,
    comparisons: Sequence[Comparison],
    rows: Sequence[Row],
    images: Sequence[str],
    rounds: int,
    scratch: Path,
    progress: Progress,
) -> dict[str, Any]:
    """Measure comparisons one after the other.

    Parameters
    ----------
    bundle : Bundle
        The shipped bundle, whose calibration makes raw probabilities of baselines comparable.
    comparisons : sequence of Comparison
    rows : sequence of Row
    images : sequence of str
    rounds : int
    scratch : Path
        An empty folder for the graphs that baselines need.
    progress : callable
        Called with a line of text before each step.

    Returns
    -------
    dict
        The record, ready for JSON.
    """
    before = machine()
    graphs = _export(comparisons, scratch, progress)
    measured = {c.name: _compare(bundle, c, images, graphs, rounds, progress) for c in comparisons}
    return {
        "format": FORMAT,
        "machine": {**before, "load_average_after": load_average()},
        "bundle": bundle.identity,
        "gates": _gates(bundle, measured),
        "rounds": rounds,
        "warm_up": WARM_UP,
        "images": len(images),
        "rows": {row.name: _figure(row, measured[row.comparison]) for row in rows},
        "comparisons": measured,
    }


def faults(record: Mapping[str, Any]) -> list[str]:
    """List what failed in a run; a package that is not installed is not a failure."""
    return [
        f"{comparison}: {name}: {contestant['failed']}"
        for comparison, measured in record["comparisons"].items()
        for name, contestant in measured["contestants"].items()
        if "failed" in contestant
    ]


def _export(
    comparisons: Sequence[Comparison], scratch: Path, progress: Progress
) -> dict[str, str | NotMeasured | WorkerFailed]:
    """Export the graphs that baselines need; return a path for each, or the exception if it cannot be exported."""
    graphs: dict[str, str | NotMeasured | WorkerFailed] = {}
    for name in {c.graph for comparison in comparisons for c in comparison.contestants if c.graph}:
        progress(f"exporting {name}")
        path = str(scratch / name)
        try:
            with Worker(Task(f"benchmarks.baselines.exports:{EXPORTS[name]}", [], {"out": path})) as worker:
                worker.run()
            graphs[name] = path
        except (NotMeasured, WorkerFailed) as error:
            graphs[name] = error
    return graphs


def _compare(
    bundle: Bundle,
    comparison: Comparison,
    images: Sequence[str],
    graphs: Mapping[str, str | NotMeasured | WorkerFailed],
    rounds: int,
    progress: Progress,
) -> dict[str, Any]:
    images = images[: comparison.images]
    contestants: dict[str, dict[str, Any]] = {c.name: {} for c in comparison.contestants}
    with ExitStack() as stack:
        workers: dict[str, Worker] = {}
        for contestant in comparison.contestants:
            progress(f"{comparison.name}: setting up {contestant.name}")
            with _noting_failure(contestants[contestant.name]):
                worker = stack.enter_context(Worker(_task(contestant, images, graphs)))
                worker.run()  # a first call that fails costs its own contestant alone
                workers[contestant.name] = worker
        seconds = _run(workers, contestants, comparison, rounds, progress)
        answers: dict[str, Answers | None] = {}
        for name, times in seconds.items():
            with _noting_failure(contestants[name]):
                answers[name] = workers[name].answers()
                contestants[name] |= _measured(workers[name], times, comparison)
    _compare_probabilities(bundle, comparison, answers, contestants)
    return {
        "title": comparison.title,
        "boundary": comparison.boundary,
        "unit": comparison.unit,
        "images": len(images),
        "contestants": contestants,
    }


def _measured(worker: Worker, seconds: list[float], comparison: Comparison) -> dict[str, Any]:
    scale = 1e9 if comparison.unit == "GFLOP/s" else 1
    return {
        "settings": worker.settings,
        "seconds": seconds,
        "work": worker.work,
        "rate": spread([worker.work / scale / t for t in seconds]),
        # A worker that only starts another process has no memory of interest.
        "peak_mb": None if comparison.boundary == PROCESS else round(worker.peak_memory() / 1e6, 1),
    }


def _task(
    contestant: Contestant, images: Sequence[str], graphs: Mapping[str, str | NotMeasured | WorkerFailed]
) -> Task:
    arguments = dict(contestant.arguments)
    if contestant.graph:
        graph = graphs[contestant.graph]
        if isinstance(graph, Exception):
            raise graph
        arguments["graph"] = graph
    return Task(f"benchmarks.baselines.{contestant.implementation}", images, arguments)


@contextmanager
def _noting_failure(found: dict[str, Any]) -> Iterator[None]:
    """Record why a contestant was not measured, and let the others continue."""
    try:
        yield
    except NotMeasured as error:
        found["not_measured"] = str(error)
    except WorkerFailed as error:
        found["failed"] = str(error)


def _run(
    workers: Mapping[str, Worker],
    contestants: Mapping[str, dict[str, Any]],
    comparison: Comparison,
    rounds: int,
    progress: Progress,
) -> dict[str, list[float]]:
    """Return the seconds of each contestant that did not fail."""

    def candidate(name: str) -> Callable[[], float]:
        def run() -> float:
            progress(f"{comparison.name}: {name}")
            elapsed = float("nan")
            if "failed" not in contestants[name]:
                with _noting_failure(contestants[name]):
                    elapsed = workers[name].run()
            return elapsed

        return run

    seconds = self_timed({name: candidate(name) for name in workers}, rounds, WARM_UP, PAUSE)
    return {name: times for name, times in seconds.items() if "failed" not in contestants[name]}


def _compare_probabilities(
    bundle: Bundle,
    comparison: Comparison,
    answers: Mapping[str, Answers | None],
    contestants: Mapping[str, dict[str, Any]],
) -> None:
    """Record the largest difference of each contestant's probabilities from cxr-edge's; too large is a failure."""
    reference = answers.get(comparison.contestants[0].name)
    if reference is None:
        return
    manifest = bundle.manifest
    curves = manifest.curves("tta" if comparison.tta else "single")
    for contestant in comparison.contestants:
        found = answers.get(contestant.name)
        if found is None or found.shape != reference.shape or (contestant.alike is None and not contestant.ours):
            continue
        calibrated = found if contestant.ours else calibrate(found, curves, manifest.label_names)
        difference = float(np.abs(calibrated - reference).max())
        contestants[contestant.name]["max_difference"] = difference
        if contestant.alike is not None and not difference <= contestant.alike:
            contestants[contestant.name]["failed"] = (
                f"expected the probabilities of {comparison.contestants[0].name} within {contestant.alike:g}, "
                f"got a difference of {difference:.2g}: it computes something else"
            )


def _figure(row: Row, measured: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row's figure with its spread and whether it reaches its targets, or why it was not measured."""
    figure: dict[str, Any] = {
        "title": row.title,
        "kind": row.kind,
        "boundary": measured["boundary"],
        "subject": row.subject,
        "baseline": row.baseline,
        "target": row.target,
        "beyond": row.beyond,
    }
    contestants = measured["contestants"]
    for name in filter(None, (row.subject, row.baseline)):
        for state in ("failed", "not_measured"):
            if state in contestants[name]:
                return {**figure, "not_measured": f"{name}: {contestants[name][state]}"}
    value = _value(row, contestants)
    reaches = {
        key: None if target is None else row.reaches(value["median"], target)
        for key, target in (("reaches_target", row.target), ("reaches_beyond", row.beyond))
    }
    return {**figure, **value, **reaches}


def _value(row: Row, contestants: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    subject = contestants[row.subject]
    if row.baseline is None:
        return spread([subject["peak_mb"]])
    baseline = contestants[row.baseline]
    of_subject, of_baseline = ([t / c["work"] for t in c["seconds"]] for c in (subject, baseline))
    return ratio(of_subject, of_baseline) if row.kind == "cost" else ratio(of_baseline, of_subject)


def _gates(bundle: Bundle, measured: Mapping[str, Any]) -> dict[str, Any]:
    """Return the gate figures of every variant that was measured."""
    settings = [
        contestant["settings"]
        for comparison in measured.values()
        for contestant in comparison["contestants"].values()
        if "settings" in contestant
    ]
    precisions = sorted({s["precision"] for s in settings if s.get("bundle") == bundle.identity})
    return {precision: bundle.manifest.variant(precision).gate for precision in precisions}
