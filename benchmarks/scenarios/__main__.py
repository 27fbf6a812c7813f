"""Command line: ``python -m benchmarks.scenarios``."""

import json
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, Final

import cv2
import typer
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Column, Table

from benchmarks.images import SAMPLES
from benchmarks.measure import machine
from benchmarks.scenarios.boundaries import boundaries, read_images
from benchmarks.scenarios.figures import PERCENTILES
from benchmarks.scenarios.runs import measure
from benchmarks.scenarios.scenario import Scenario, concurrency_of
from cxr_edge.backends import Resources
from cxr_edge.model.bundle import read_bundle
from cxr_edge.model.model import Model
from cxr_edge.support.parallel import usable_cores

MOST_IMAGES: Final = 64
NOTE: Final = (
    "Not MLPerf results: LoadGen ran with a minimum duration of {seconds:g} s and no minimum number of queries, where "
    "MLPerf's rules require at least 600 s, fixed numbers of queries, and an accuracy run. INVALID is LoadGen's own "
    "verdict on such a short run."
)


def main(
    images: Annotated[Path, typer.Option(help="Folder of PNG images.", exists=True, file_okay=False)] = SAMPLES,
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
    tta: Annotated[bool, typer.Option("--tta/--no-tta", help="Also measure all TTA variants.")] = True,
    cam: Annotated[bool, typer.Option("--cam/--no-cam", help="Also measure heat maps.")] = True,
    seconds: Annotated[float, typer.Option(min=0.1, help="Least duration of each run.")] = 10.0,
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the figures here as JSON.")] = None,
) -> None:
    """Measure latency and throughput in MLPerf Inference's edge scenarios, boundary by boundary."""
    paths = sorted(images.glob("*.png"))
    if not paths:
        raise typer.BadParameter(f"{images} contains no PNG file", param_hint="--images")
    cv2.setNumThreads(1)  # as in `cxr-edge infer`
    bundle, read = read_bundle(root), read_images(_spread(paths, MOST_IMAGES))
    figures: dict[str, Any] = {
        "note": NOTE.format(seconds=seconds),
        "machine": machine(),
        "loadgen": version("mlcommons-loadgen"),
        "bundle": bundle.identity,
        "images": len(read.png),
        "seconds": seconds,
        "opencv_threads": cv2.getNumThreads(),
        "rows": [],
    }
    for scenario in scenarios or Scenario:
        concurrency = concurrency_of(scenario, usable_cores())
        model = Model(bundle, device, precision, Resources(threads=concurrency.threads))
        figures |= {"device": model.device, "precision": model.precision, "gate": bundle.manifest.gate(model.precision)}
        for boundary in boundaries(model, bundle, concurrency.threads, read, tta=tta, cam=cam):
            typer.echo(f"{scenario.value}: {boundary.name} …", err=True)
            figures["rows"].append(measure(boundary, scenario, concurrency, seconds))
    _print(figures)
    if out is not None:
        out.write_text(json.dumps(figures, indent=2) + "\n")


def _spread(paths: Sequence[Path], most: int) -> list[Path]:
    """Choose at most `most` images, evenly over the folder, so that all fit in memory."""
    count = min(len(paths), most)
    return [paths[i * len(paths) // count] for i in range(count)]


def _print(figures: dict[str, Any]) -> None:
    console = Console()
    console.print(
        f"{figures['bundle']} on {figures['device']} in {figures['precision']}, {figures['images']} images; "
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
        *(Column(name, justify="right") for name in ("queries", *(f"p{p} ms" for p in PERCENTILES), "images/s")),
        "LoadGen",
        title=f"{scenario}: {first['metric']}; images at a time {first['workers']}, threads each {first['threads']}",
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
