"""Command line: ``python -m benchmarks.growth``."""

import json
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.growth.processes import SAMPLING_SECONDS
from benchmarks.growth.report import markdown, plot
from benchmarks.growth.series import ONE_ROUND, by_batch, by_cores, by_images, by_size
from benchmarks.images import SAMPLES
from benchmarks.measure import machine
from cxr_edge.model.bundle import read_bundle


def main(
    images: Annotated[Path, typer.Option(help="Folder of PNG images.", exists=True, file_okay=False)] = SAMPLES,
    counts: Annotated[str, typer.Option(help="Numbers of images.")] = "100,1000,10000",
    sides: Annotated[str, typer.Option(help="Lengths of the images' longer side in pixels.")] = "512,1024,2048,4000",
    batches: Annotated[str, typer.Option(help="Images in one call of the network.")] = "1,2,4,8,16,32",
    each: Annotated[int, typer.Option(min=2, help="Images in the runs by size and by cores.")] = 200,
    rounds: Annotated[int, typer.Option(min=1, help=f"Rounds; always one for {ONE_ROUND} images or more.")] = 3,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="Write growth.json, .md and .png here.")] = None,
) -> None:
    """Measure how time and memory grow with the number of images, their size, the cores and the batch."""
    paths = sorted(images.glob("*.png"))
    if not paths:
        raise typer.BadParameter(f"{images} contains no PNG file", param_hint="--images")
    numbers = {"--counts": counts, "--sides": sides, "--batches": batches}
    wanted = {option: _numbers(text, option) for option, text in numbers.items()}
    with tempfile.TemporaryDirectory(prefix="cxr-edge-growth-") as folder:
        root = Path(folder)
        figures = {
            "machine": machine(),
            "bundle": read_bundle().identity,
            "distinct_images": len(paths),
            "rounds": rounds,
            "memory_sampled_every_s": SAMPLING_SECONDS,
            "images": by_images(paths, wanted["--counts"], rounds, root),
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
            f"expected whole numbers separated by commas, got {text!r}", param_hint=option
        ) from error
    if min(numbers) < 1 or len(set(numbers)) < len(numbers):
        raise typer.BadParameter(f"expected different numbers of at least 1, got {text!r}", param_hint=option)
    return numbers


if __name__ == "__main__":
    typer.run(main)
