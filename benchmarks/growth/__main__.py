"""Command line: ``python -m benchmarks.growth``."""

import json
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.films import SAMPLES
from benchmarks.growth.processes import SAMPLING_SECONDS
from benchmarks.growth.report import markdown, plot
from benchmarks.growth.series import ONE_ROUND, by_batch, by_cores, by_films, by_size
from benchmarks.measure import machine
from cxr_edge.model.bundle import read_bundle


def main(
    films: Annotated[Path, typer.Option(help="Folder of PNG films.", exists=True, file_okay=False)] = SAMPLES,
    counts: Annotated[str, typer.Option(help="Numbers of films.")] = "100,1000,10000",
    sides: Annotated[str, typer.Option(help="Longer sides of the films in pixels.")] = "512,1024,2048,4000",
    batches: Annotated[str, typer.Option(help="Films in one call of the network.")] = "1,2,4,8,16,32",
    each: Annotated[int, typer.Option(min=2, help="Films in the runs by size and by cores.")] = 200,
    rounds: Annotated[int, typer.Option(min=1, help=f"Rounds; one with {ONE_ROUND} films or more.")] = 3,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="Write growth.json, .md and .png here.")] = None,
) -> None:
    """Measure how time and memory grow with the number of films, their size, the cores and the batch."""
    paths = sorted(films.glob("*.png"))
    if not paths:
        raise typer.BadParameter(f"{films} holds no PNG file", param_hint="--films")
    numbers = {"--counts": counts, "--sides": sides, "--batches": batches}
    wanted = {option: _numbers(text, option) for option, text in numbers.items()}
    with tempfile.TemporaryDirectory(prefix="cxr-edge-growth-") as folder:
        root = Path(folder)
        figures = {
            "machine": machine(),
            "bundle": read_bundle().identity,
            "distinct_films": len(paths),
            "rounds": rounds,
            "memory_sampled_every_s": SAMPLING_SECONDS,
            "films": by_films(paths, wanted["--counts"], rounds, root),
            "size": by_size(paths, wanted["--sides"], each, rounds, root),
            "cores": by_cores(paths, each, rounds, root),
            "batch": by_batch(paths, wanted["--batches"], rounds),
        }
    text = markdown(figures)
    typer.echo(text)
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        (out / "growth.json").write_text(json.dumps(figures, indent=1) + "\n")
        (out / "growth.md").write_text(text + "\n", encoding="utf-8")
        plot(figures, out / "growth.png")


def _numbers(text: str, option: str) -> list[int]:
    try:
        numbers = [int(part) for part in text.split(",")]
    except ValueError as error:
        raise typer.BadParameter(
            f"expected whole numbers with commas between, got {text!r}", param_hint=option
        ) from error
    if min(numbers) < 1 or len(set(numbers)) < len(numbers):
        raise typer.BadParameter(f"expected different numbers of at least 1, got {text!r}", param_hint=option)
    return numbers


if __name__ == "__main__":
    typer.run(main)
