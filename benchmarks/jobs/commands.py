"""Commands as users give them, timed from their start to their end."""

import os
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import typer

from benchmarks.jobs.inputs import BIG, SYNTAXES
from benchmarks.measure import ratio, self_timed

THIS: Final = "this"
OTHER: Final = "other"


@dataclass(frozen=True)
class Job:
    """One command.

    Attributes
    ----------
    inputs : str
        Folder of `make_inputs`.
    options : tuple of str
        Of ``cxr-edge infer``; ``OUT`` stands for a new folder.
    alone : str
        The job that only infers the same images.
    """

    inputs: str
    options: tuple[str, ...]
    alone: str


RESULTS: Final = ("--out", "OUT/results")
JOBS: Final = {
    "PNG": Job("png", RESULTS, "PNG"),
    "PNG, --cam 3": Job("png", (*RESULTS, "--cam", "3"), "PNG"),
    "PNG, --report": Job("png", (*RESULTS, "--report"), "PNG"),
    "PNG, --no-tta": Job("png", (*RESULTS, "--no-tta"), "PNG"),
    "PNG, --adaptive": Job("png", (*RESULTS, "--adaptive"), "PNG"),
    "DICOM": Job("dicom", RESULTS, "DICOM"),
    "DICOM, --dicom-out": Job("dicom", (*RESULTS, "--dicom-out", "OUT/dicom"), "DICOM"),
    "DICOM, all three": Job(
        "dicom", (*RESULTS, "--cam", "3", "--report", "--dicom-out", "OUT/dicom"), "DICOM"
    ),
    **{f"{BIG[1]}x{BIG[0]}, {name}": Job(name, RESULTS, f"{BIG[1]}x{BIG[0]}, native") for name in SYNTAXES},
}  # fmt: skip


def measure(
    jobs: dict[str, Job], folder: Path, versions: dict[str, Path | None], threads: int | None, rounds: int
) -> dict[str, Any]:
    """Run every job by every version in every round; return versions, and figures by job."""
    installed = {name: python for name, python in versions.items() if python is not None}
    memory: dict[str, float] = {}
    cpu: dict[str, list[float]] = {}
    candidates = {}
    for name, job in jobs.items():
        for version, python in installed.items():
            key = f"{name} / {version}"
            cpu[key] = []
            candidates[key] = _runner(key, _command(python, job, folder, threads), folder, cpu[key], memory)
    seconds = self_timed(candidates, rounds)
    rows = {}
    for name, job in jobs.items():
        this, alone = (f"{of} / {THIS}" for of in (name, job.alone))
        row: dict[str, Any] = {
            "over inference alone": ratio(seconds[this], seconds[alone]),
            "seconds": {},
            "cpu seconds": {},
            "peak memory in MB": {},
        }
        for version in installed:
            key = f"{name} / {version}"
            row["seconds"][version] = float(np.median(seconds[key]))
            row["cpu seconds"][version] = float(np.median(cpu[key][-rounds:]))
            row["peak memory in MB"][version] = memory[key]
        if OTHER in installed:
            other = f"{name} / {OTHER}"
            row["times faster"] = ratio(seconds[other], seconds[this])
            row["times less CPU"] = ratio(cpu[other][-rounds:], cpu[this][-rounds:])
        rows[name] = row
    return {"versions": {name: _version(python) for name, python in installed.items()}, "jobs": rows}


def _command(python: Path, job: Job, folder: Path, threads: int | None) -> list[str]:
    some = [] if threads is None else ["--threads", str(threads)]
    return [str(python), "-m", "cxr_edge", "infer", str(folder / job.inputs), "--device", "cpu", *some, *job.options]


def _runner(
    key: str, command: list[str], folder: Path, cpu: list[float], memory: dict[str, float]
) -> Callable[[], float]:
    """Return what runs a command once, into a new folder, and returns its seconds."""

    def run() -> float:
        with tempfile.TemporaryDirectory(dir=folder) as out, Path(folder, "log").open("w+b") as log:
            words = [word.replace("OUT", out) for word in command]
            start = time.perf_counter()
            process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=log, cwd=out, env=_environment())
            _, status, usage = os.wait4(process.pid, 0)
            elapsed = time.perf_counter() - start
            process.returncode = os.waitstatus_to_exitcode(status)
            if process.returncode:
                log.seek(0)
                raise RuntimeError(f"{' '.join(words)} ended with {process.returncode}: {log.read()[-2000:]!r}")
        typer.echo(f"{key}: {elapsed:.1f} s", err=True)
        cpu.append(usage.ru_utime + usage.ru_stime)
        memory[key] = max(memory.get(key, 0.0), usage.ru_maxrss / 1000)
        return elapsed

    return run


def _environment() -> dict[str, str]:
    """Return the environment without what would lead another version's interpreter to this one's packages."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}


def _version(python: Path) -> str:
    command = [str(python), "-m", "cxr_edge", "--version"]
    return subprocess.run(command, capture_output=True, text=True, check=True, env=_environment()).stdout.strip()
