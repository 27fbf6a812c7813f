"""Command line: ``python -m benchmarks.jobs``."""

import json
import sys
import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Column, Table

from benchmarks.images import SAMPLES, find_images
from benchmarks.jobs.commands import JOBS, OTHER, THIS, measure
from benchmarks.jobs.inputs import SYNTAXES, make_inputs
from benchmarks.jobs.stages import stages
from benchmarks.measure import machine


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
        figures["milliseconds of an image"] = {
            kind: stages(Path(scratch, kind), Path(scratch, "stages"), rounds) for kind in counts
        }
    figures = {"machine": machine(), "images": counts, "threads": threads, **figures}
    _print(figures)
    if out is not None:
        out.write_text(json.dumps(figures, indent=1) + "\n")


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
    for kind, steps in figures["milliseconds of an image"].items():
        shares = "; ".join(f"{name} {ms:.1f}" for name, ms in steps.items())
        console.print(f"CPU ms of an image, {kind}: {shares}", highlight=False)
    console.print("; ".join(f"{name}: {version}" for name, version in figures["versions"].items()), highlight=False)


def _spread(found: dict[str, float]) -> str:
    return f"{found['median']:.2f} ({found['p10']:.2f} to {found['p90']:.2f})"


if __name__ == "__main__":
    typer.run(main)
