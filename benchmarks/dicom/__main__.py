"""Command line: ``python -m benchmarks.dicom``."""

import json
import os
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.dicom.report import markdown
from benchmarks.dicom.survival import hostile_set
from benchmarks.dicom.syntaxes import syntaxes
from benchmarks.images import SAMPLES
from benchmarks.measure import machine
from cxr_edge import images

#: The image that the hostile files are made from.
IMAGE = sorted(SAMPLES.glob("*.png"))[0]


def main(
    rounds: Annotated[int, typer.Option(min=1, help="Rounds over all transfer syntaxes.")] = 7,
    repeats: Annotated[int, typer.Option(min=1, help="Processes that read each hostile file.")] = 3,
    rows: Annotated[int, typer.Option(min=64, help="Height of the image in all transfer syntaxes.")] = 3000,
    columns: Annotated[int, typer.Option(min=64, help="Width of that image.")] = 2500,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="Write dicom.json and dicom.md here.")] = None,
) -> None:
    """Measure reading in every transfer syntax, and time and memory of each hostile file."""
    figures = {
        "machine": machine(),
        "load": round(os.getloadavg()[0], 1),
        "image": [rows, columns],
        "rounds": rounds,
        "syntaxes": syntaxes((rows, columns), rounds),
        "repeats": repeats,
        "hostile": hostile_set(images.read_image(IMAGE).pixels, repeats),
    }
    text = markdown(figures)
    typer.echo(text)
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        (out / "dicom.json").write_text(json.dumps(figures, indent=1) + "\n")
        (out / "dicom.md").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
