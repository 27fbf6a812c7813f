"""One run: a boundary in a scenario."""

import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.scenarios.boundaries import Boundary
from benchmarks.scenarios.figures import figures, read_log
from benchmarks.scenarios.loadgen import SystemUnderTest, drive, settings_for
from benchmarks.scenarios.scenario import Concurrency, Scenario
from cxr_edge.support.parallel import map_in_order


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
        settings = settings_for(scenario, seconds, _warm_up(boundary, concurrency.workers))
        with tempfile.TemporaryDirectory(prefix="cxr-edge-loadgen-") as folder:
            drive(system, len(boundary.samples), settings, folder)
            log = read_log(Path(folder) / "mlperf_log_detail.txt")
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
        "batch": boundary.inputs,
        **figures(scenario, log),
    }


def _warm_up(boundary: Boundary, workers: int) -> float:
    """Run some samples as the scenario will, twice; return the seconds per sample of the faster pass."""
    samples = [boundary.samples[i % len(boundary.samples)] for i in range(max(8, 2 * workers))]
    passes = []
    for _ in range(2):
        start = time.perf_counter()
        for _ in map_in_order(boundary.run, samples, workers):
            pass
        passes.append((time.perf_counter() - start) / len(samples))
    return min(passes)
