"""One run of the comparisons: prepare, measure interleaved, hold the answers against each other, make the record."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from benchmarks.comparisons import EXPORTS, PROCESS, Comparison, Contestant, Row
from benchmarks.measure import load_average, machine, ratio, spread, told_seconds
from benchmarks.workers import NotMeasured, Task, Worker, WorkerFailed
from cxr_edge.model.bundle import Bundle
from cxr_edge.model.calibration import calibrate

FORMAT: Final = 2
#: Seconds between two runs: idle threads of the last one stop waiting busily.
PAUSE: Final = 0.25
WARM_UP: Final = 1

Answers = npt.NDArray[np.float64]
Say = Callable[[str], None]


def measure(
    bundle: Bundle,
    comparisons: Sequence[Comparison],
    rows: Sequence[Row],
    images: Sequence[str],
    rounds: int,
    scratch: Path,
    say: Say,
) -> dict[str, Any]:
    """Measure comparisons one after the other.

    Parameters
    ----------
    bundle : Bundle
        The shipped one, whose calibration makes raw probabilities of baselines comparable.
    comparisons : sequence of Comparison
    rows : sequence of Row
    images : sequence of str
    rounds : int
    scratch : Path
        An empty folder for the graphs that baselines need.
    say : callable
        Told what is going on.

    Returns
    -------
    dict
        The record, ready for JSON.
    """
    before = machine()
    graphs = _export(comparisons, scratch, say)
    measured = {c.name: _compare(bundle, c, images, graphs, rounds, say) for c in comparisons}
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
    """List what went wrong in a run; a package that is not installed is no fault."""
    return [
        f"{comparison}: {name}: {contestant['failed']}"
        for comparison, measured in record["comparisons"].items()
        for name, contestant in measured["contestants"].items()
        if "failed" in contestant
    ]


def _export(comparisons: Sequence[Comparison], scratch: Path, say: Say) -> dict[str, str | NotMeasured | WorkerFailed]:
    """Make the graphs that baselines need; where that cannot be done, the reason stands in the graph's place."""
    graphs: dict[str, str | NotMeasured | WorkerFailed] = {}
    for name in {c.graph for comparison in comparisons for c in comparison.contestants if c.graph}:
        say(f"exporting {name}")
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
    say: Say,
) -> dict[str, Any]:
    images = images[: comparison.images]
    contestants: dict[str, dict[str, Any]] = {c.name: {} for c in comparison.contestants}
    with ExitStack() as stack:
        workers: dict[str, Worker] = {}
        for contestant in comparison.contestants:
            say(f"{comparison.name}: setting up {contestant.name}")
            with _told(contestants[contestant.name]):
                worker = stack.enter_context(Worker(_task(contestant, images, graphs)))
                worker.run()  # a first call that fails costs its own contestant alone
                workers[contestant.name] = worker
        seconds = _run(workers, contestants, comparison, rounds, say)
        answers: dict[str, Answers | None] = {}
        for name, times in seconds.items():
            with _told(contestants[name]):
                answers[name] = workers[name].answers()
                contestants[name] |= _measured(workers[name], times, comparison)
    _hold_against_each_other(bundle, comparison, answers, contestants)
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
        # Where the worker only starts another process, its own memory says nothing.
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
    return Task(f"benchmarks.baselines.{contestant.baseline}", images, arguments)


@contextmanager
def _told(found: dict[str, Any]) -> Iterator[None]:
    """Put down why a contestant was not measured, and let the others go on."""
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
    say: Say,
) -> dict[str, list[float]]:
    """Give the seconds of each contestant that lived to the end."""

    def candidate(name: str) -> Callable[[], float]:
        def run() -> float:
            say(f"{comparison.name}: {name}")
            told = float("nan")
            if "failed" not in contestants[name]:
                with _told(contestants[name]):
                    told = workers[name].run()
            return told

        return run

    seconds = told_seconds({name: candidate(name) for name in workers}, rounds, WARM_UP, PAUSE)
    return {name: times for name, times in seconds.items() if "failed" not in contestants[name]}


def _hold_against_each_other(
    bundle: Bundle,
    comparison: Comparison,
    answers: Mapping[str, Answers | None],
    contestants: Mapping[str, dict[str, Any]],
) -> None:
    """Put down how far each contestant's probabilities lie from cxr-edge's; too far is a failure."""
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
                f"expected the answers of {comparison.contestants[0].name} within {contestant.alike:g}, "
                f"got a probability off by {difference:.2g}: it computes something else"
            )


def _figure(row: Row, measured: Mapping[str, Any]) -> dict[str, Any]:
    """Give a row's figure with its spread and whether it reaches its targets, or why there is none."""
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
    """Give the gate figures of every variant that was measured."""
    settings = [
        contestant["settings"]
        for comparison in measured.values()
        for contestant in comparison["contestants"].values()
        if "settings" in contestant
    ]
    precisions = sorted({s["precision"] for s in settings if s.get("bundle") == bundle.identity})
    return {precision: bundle.manifest.variant(precision).gate for precision in precisions}
