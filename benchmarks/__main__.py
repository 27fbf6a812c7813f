"""Command line of the benchmarks: ``python -m benchmarks``."""

import importlib.util
import json
import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from benchmarks.comparisons import choose_rows, comparisons_for
from benchmarks.images import SAMPLES, find_images, link_images
from benchmarks.report import compare, plot, to_markdown
from benchmarks.run import FORMAT, faults, measure
from cxr_edge.model.bundle import read_bundle


def main(
    images: Annotated[
        Path, typer.Option(metavar="DIR", help="Folder of images.", exists=True, file_okay=False)
    ] = SAMPLES,
    count: Annotated[int, typer.Option(min=1, help="Files of the directory; images are repeated to fill it.")] = 570,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds of each comparison.")] = 7,
    only: Annotated[list[str] | None, typer.Option(metavar="NAME", help="A comparison or a row; repeatable.")] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write figures.json, report.md and ratios.png here.")
    ] = None,
    old: Annotated[
        Path | None,
        typer.Option("--compare", metavar="OLD.json", help="Also print what changed.", exists=True, dir_okay=False),
    ] = None,
) -> None:
    """Compare cxr-edge with the alternatives: on this machine, in one run, interleaved.

    Exit status: 0 everything that is installed was measured; 1 a contestant failed, the rest was measured; 2 usage.
    """
    try:
        rows = choose_rows(only or [])
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--only") from error
    try:
        found = find_images(images)
    except FileNotFoundError as error:
        raise typer.BadParameter(str(error), param_hint="--images") from error
    before = _read_record(old) if old else None
    if out is not None:
        if importlib.util.find_spec("matplotlib") is None:
            raise typer.BadParameter("matplotlib draws the plot: pip install --group bench", param_hint="--out")
        out.mkdir(parents=True, exist_ok=True)
    console = Console(stderr=True)
    with tempfile.TemporaryDirectory(prefix="cxr-edge-benchmarks-") as scratch, console.status("starting") as status:
        folder, graphs = Path(scratch, "images"), Path(scratch, "graphs")
        folder.mkdir()
        graphs.mkdir()
        paths = link_images(found, count, folder)
        record = measure(read_bundle(), comparisons_for(rows), rows, paths, rounds, graphs, status.update)
    record["distinct_images"] = min(len(found), count)
    _report(record, before, out)
    if failed := faults(record):
        for fault in failed:
            console.print(fault, style="red", markup=False, highlight=False)
        raise typer.Exit(1)


def _read_record(path: Path) -> dict[str, Any]:
    try:
        record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise typer.BadParameter(f"{path} is not valid JSON: {error}", param_hint="--compare") from error
    if record.get("format") != FORMAT:
        raise typer.BadParameter(
            f"expected figures of format {FORMAT}, got {record.get('format')}; measure them again with --out",
            param_hint="--compare",
        )
    return record


def _report(record: dict[str, Any], before: dict[str, Any] | None, out: Path | None) -> None:
    report = to_markdown(record)
    if before is not None:
        report += "\n\n" + compare(before, record)
    typer.echo(report)
    if out is None:
        return
    (out / "figures.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    (out / "report.md").write_text(report + "\n", encoding="utf-8")
    if not plot(record, out / "ratios.png"):
        typer.echo("No ratio was measured, so no plot was drawn.", err=True)


if __name__ == "__main__":
    typer.run(main)
