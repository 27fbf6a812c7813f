"""Command line: ``python -m benchmarks.node``."""

import json
import tempfile
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks.measure import machine
from benchmarks.node.crashes import all_rows
from benchmarks.node.load import load
from benchmarks.node.report import markdown
from benchmarks.node.running import RunningSite
from benchmarks.node.site import DICOM_DESTINATION, missing


def main(
    crashes: Annotated[
        bool, typer.Option(help="Kill the node, stop the archive, fill the disk, move the clock.")
    ] = True,
    scale: Annotated[float, typer.Option(min=0.01, help="Number of crash trials; 1 takes about 20 minutes.")] = 1.0,
    minutes: Annotated[float, typer.Option(min=0, help="Duration of the load; 0 leaves it out.")] = 30,
    images: Annotated[int, typer.Option(min=16, help="Images of the load, at most.")] = 20_000,
    note: Annotated[str, typer.Option(help="What a reader must know about the machine while crashes were tried.")] = "",
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="Write or update node.json and node.md here.")] = None,
) -> None:
    """Measure the node between real programs: results lost or doubled by crashes, and speed under load.

    Needs Linux, root (for a network namespace), and Debian's dcmtk, orthanc, orthanc-dicomweb, strace and gcc.
    """
    if (why := missing()) is not None:
        raise typer.BadParameter(why)
    record = out / "node.json" if out is not None else None
    figures: dict[str, Any] = json.loads(record.read_text()) if record is not None and record.exists() else {}
    figures["machine"] = machine()
    with tempfile.TemporaryDirectory(prefix="cxr-edge-node-") as folder:
        if minutes:
            with RunningSite(Path(folder) / "load", DICOM_DESTINATION) as site:
                began = time.monotonic()
                figures["load"] = load(site, 60 * minutes, images, _progress)
                figures["load"]["minutes"] = (time.monotonic() - began) / 60
        if crashes:
            figures["note"] = note
            figures["crashes"] = [row.to_dict() for row in all_rows(Path(folder), scale, _progress)]
    text = markdown(figures)
    typer.echo(text)
    if record is not None:
        record.parent.mkdir(parents=True, exist_ok=True)
        record.write_text(json.dumps(figures, indent=1) + "\n")
        record.with_suffix(".md").write_text(f"{text}\n", encoding="utf-8")
    rows = [*figures.get("crashes", ()), *([figures["load"]["verdict"]] if "load" in figures else ())]
    if any(row[wrong] for row in rows for wrong in ("lost", "doubled", "dead", "values")):
        raise typer.Exit(1)


def _progress(text: str) -> None:
    typer.echo(f"{time.strftime('%T')} {text}", err=True)


if __name__ == "__main__":
    typer.run(main)
