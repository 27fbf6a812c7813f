"""Command line of the benchmarks: ``python -m benchmarks``."""

import json
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.cold_start import measure_in_process, measure_processes
from benchmarks.heatmaps import measure_heatmaps
from benchmarks.measure import machine
from cxr_edge.bundle import read_bundle

SAMPLES = Path(__file__).parent.parent / "samples"


def main(
    rounds: Annotated[int, typer.Option(min=1, help="Rounds of each comparison.")] = 9,
    films: Annotated[Path, typer.Option(help="Folder of PNG films.", exists=True, file_okay=False)] = SAMPLES,
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the figures here as JSON.")] = None,
) -> None:
    """Measure ratios on this machine, interleaved, as medians.

    A ratio is a time over the baseline's time of the same round.
    """
    paths = sorted(films.glob("*.png"))
    if not paths:
        raise typer.BadParameter(f"{films} holds no PNG file", param_hint="--films")
    figures = {
        "machine": machine(),
        "bundle": read_bundle().identity,
        "heatmaps": measure_heatmaps(paths, rounds),
        "process": measure_processes(paths[0], rounds),
        "import, load, first predict": measure_in_process(paths[0], rounds),
    }
    text = json.dumps(figures, indent=2)
    typer.echo(text)
    if out is not None:
        out.write_text(text + "\n")


if __name__ == "__main__":
    typer.run(main)
