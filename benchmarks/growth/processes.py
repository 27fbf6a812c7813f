"""Runs, each a process of its own whose resident memory is sampled every few milliseconds."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil

from benchmarks.workers import ROOT

SAMPLING_SECONDS: Final = 0.02
MEBIBYTE: Final = 2**20


@dataclass(frozen=True)
class Run:
    """One process, watched from its start to its end.

    Attributes
    ----------
    seconds : float
        From start to end.
    first_line : float or None
        Seconds to the first result, which is the cost of starting; None if none was written before the end.
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
        """Return the highest resident memory, MiB."""
        return max(resident for _, resident in self.memory)


def infer(folder: Path, count: int, cores: int | None = None) -> Run:
    """Run ``cxr-edge infer`` on a folder as a process, and check that it wrote a result for every image.

    Raises
    ------
    RuntimeError
        It failed, or left out images.
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
    """Run a process and sample its resident memory until it ends.

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
        watched = psutil.Process(process.pid)
        try:
            while process.poll() is None:
                now = time.perf_counter() - start
                memory.append((now, _resident(watched)))
                if first_line is None and lines is not None and lines.exists() and lines.stat().st_size:
                    first_line = now
                _wait(process)
            seconds = time.perf_counter() - start
        finally:
            process.kill()
            process.wait()
        output.seek(0)
        printed = output.read()
    if process.returncode != 0:
        raise RuntimeError(f"{' '.join(command[1:4])} … ended with status {process.returncode}: {printed[-1000:]}")
    # A process that is ending, or has not started yet, has no memory.
    return Run(seconds, first_line, [(when, resident) for when, resident in memory if resident], printed)


def _resident(process: psutil.Process) -> float:
    try:
        return float(process.memory_info().rss) / MEBIBYTE
    except (psutil.NoSuchProcess, psutil.AccessDenied):  # it ended since `poll`
        return 0.0


def _wait(process: subprocess.Popen[bytes]) -> None:
    try:
        process.wait(SAMPLING_SECONDS)
    except subprocess.TimeoutExpired:
        return


@contextmanager
def _on_cores(number: int | None) -> Iterator[None]:
    """Restrict this thread, and the processes that it starts, to some of its cores."""
    if number is None:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(before)[:number])
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
