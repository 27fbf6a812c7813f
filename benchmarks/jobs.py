"""Whole jobs as users run them, by this version and by another one: ``python -m benchmarks.jobs``.

Each job is a command of its own, from its start to its end, on the same real images. The versions and jobs take turns
within each round, so that noise affects all alike. Processes whose ratio is far from that of their CPU time did not
have the machine to themselves.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final

import cv2
import imagecodecs
import numpy as np
import pydicom
import typer
from pydicom.dataset import Dataset
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Column, Table

from benchmarks.dicom import dicom_files
from benchmarks.dicom.dicom_files import BASELINE, CODECS, JPEG_2000, compressed, image, stored, with_stream, written
from benchmarks.images import SAMPLES, find_images, link_images
from benchmarks.measure import machine, ratio, self_timed
from cxr_edge.images import read_image

#: Rows and columns of an image of the kind that digital detectors make.
BIG: Final = (3000, 2500)
#: Name → transfer syntax of big images; None is uncompressed.
SYNTAXES: Final = {
    "native": None,
    "JPEG": BASELINE,
    "JPEG lossless": "1.2.840.10008.1.2.4.70",
    "JPEG 2000": JPEG_2000,
    "HTJ2K": "1.2.840.10008.1.2.4.201",
}
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


def main(
    old: Annotated[
        Path | None,
        typer.Option(
            "--old", metavar="PYTHON", help="Interpreter of an environment with another version.", exists=True
        ),
    ] = None,
    only: Annotated[list[str] | None, typer.Option(metavar="JOB", help="Only this one; repeatable.")] = None,
    images: Annotated[Path, typer.Option(metavar="DIR", help="Real images.", exists=True, file_okay=False)] = SAMPLES,
    count: Annotated[int, typer.Option(min=1, help="PNG files; images are repeated to fill the folder.")] = 192,
    dicom_count: Annotated[int, typer.Option(min=1, help="DICOM files of a megapixel.")] = 48,
    big_count: Annotated[int, typer.Option(min=1, help="DICOM files of 2500x3000.")] = 12,
    threads: Annotated[int | None, typer.Option(min=1, help="Of each command.", show_default="all cores")] = None,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds that are counted, after one that is not.")] = 7,
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the figures here as JSON.")] = None,
) -> None:
    """Time whole jobs, each against inference alone, and against the same job of another version."""
    if strange := set(only or ()) - set(JOBS):
        raise typer.BadParameter(f"expected some of {'; '.join(JOBS)}; got {'; '.join(strange)}", param_hint="--only")
    chosen = {name: JOBS[name] for name in JOBS if not only or name in only}
    chosen |= {job.alone: JOBS[job.alone] for job in chosen.values()}
    with tempfile.TemporaryDirectory(prefix="cxr-edge-jobs-") as scratch:
        counts = {"png": count, "dicom": dicom_count, **dict.fromkeys(SYNTAXES, big_count)}
        counts = {inputs: counts[inputs] for inputs in {job.inputs for job in chosen.values()}}
        make_inputs(find_images(images), counts, Path(scratch))
        figures = measure(chosen, Path(scratch), {THIS: Path(sys.executable), OTHER: old}, threads, rounds)
    figures = {"machine": machine(), "images": counts, "threads": threads, **figures}
    _print(figures)
    if out is not None:
        out.write_text(json.dumps(figures, indent=1) + "\n")


def make_inputs(images: list[Path], counts: dict[str, int], folder: Path) -> None:
    """Fill a folder for each kind of input with real images, repeated under new names and identifiers."""
    for kind, count in counts.items():
        place = folder / kind
        place.mkdir()
        if kind == "png":
            link_images(images, count, place)
            continue
        for number in range(count):
            made = _dicom(images[number % len(images)], number, kind)
            (place / f"{number:05d}.dcm").write_bytes(made)


def _dicom(path: Path, number: int, kind: str) -> bytes:
    if kind == "dicom":
        return written(_identified(image(read_image(path).pixels), number))
    real = pydicom.dcmread(dicom_files.CHEST)
    bits = 8 if kind == "JPEG" else 12
    levels = cv2.resize(real.pixel_array, BIG[::-1], interpolation=cv2.INTER_CUBIC) >> (real.BitsStored - bits)
    made = _identified(
        image(
            np.roll(levels, number, axis=1).astype(np.uint8 if bits == 8 else np.uint16),
            bits=bits,
            PhotometricInterpretation=real.PhotometricInterpretation,
            WindowCenter=float(real.WindowCenter) / 2 ** (real.BitsStored - bits),
            WindowWidth=float(real.WindowWidth) / 2 ** (real.BitsStored - bits),
        ),
        number,
    )
    syntax = SYNTAXES[kind]
    if syntax is None:
        return written(made)
    if syntax in CODECS:
        return written(compressed(made, syntax))
    return written(with_stream(made, syntax, bytes(imagecodecs.jpeg8_encode(stored(made), level=95))))


def _identified(made: Dataset, number: int) -> Dataset:
    made.PatientID, made.StudyInstanceUID, made.SeriesInstanceUID = f"P{number}", f"1.2.3.{number}", f"1.2.4.{number}"
    made.SOPInstanceUID = f"1.2.5.{number}"
    return made


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


def _print(figures: dict[str, Any]) -> None:
    table = Table(
        "job",
        *(Column(title, justify="right") for title in ("s", "over inference", "MB", "times faster", "times less CPU")),
        box=SIMPLE,
    )
    for name, row in figures["jobs"].items():
        table.add_row(
            name,
            f"{row['seconds'][THIS]:.2f}",
            _spread(row["over inference alone"]),
            f"{row['peak memory in MB'][THIS]:.0f}",
            *(_spread(row[key]) if key in row else "" for key in ("times faster", "times less CPU")),
        )
    console = Console()
    console.print(table)
    console.print("; ".join(f"{name}: {version}" for name, version in figures["versions"].items()), highlight=False)


def _spread(found: dict[str, float]) -> str:
    return f"{found['median']:.2f} ({found['p10']:.2f} to {found['p90']:.2f})"


if __name__ == "__main__":
    typer.run(main)
