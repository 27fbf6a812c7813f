"""What ``--device auto`` costs with onnxruntime-gpu and no GPU: ``python -m benchmarks.auto_device CPU GPU``.

CPU and GPU are the Python executables of two environments, with the extras cpu and gpu.
"""

import json
import subprocess
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.images import SAMPLES
from benchmarks.measure import interleaved, machine, summary


def main(
    cpu: Annotated[Path, typer.Argument(help="Python with cxr-edge[cpu].", exists=True)],
    gpu: Annotated[Path, typer.Argument(help="Python with cxr-edge[gpu].", exists=True)],
    rounds: Annotated[int, typer.Option(min=1)] = 9,
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the figures here as JSON.")] = None,
) -> None:
    """Time whole processes, from start to end: one image, and all samples."""
    images = {"one image": [next(SAMPLES.glob("*.png"))], "eight images": sorted(SAMPLES.glob("*.png"))}
    figures = {
        name: summary(
            interleaved(
                {
                    extra: lambda python=python, paths=paths: _infer(python, paths)  # type: ignore[misc]
                    for extra, python in (("cpu", cpu), ("gpu", gpu))
                },
                rounds,
            ),
            baseline="cpu",
        )
        for name, paths in images.items()
    }
    text = json.dumps({"machine": machine(), "device": "auto, no GPU", **figures}, indent=2)
    typer.echo(text)
    if out is not None:
        out.write_text(text + "\n")


def _infer(python: Path, images: list[Path]) -> None:
    subprocess.run([python, "-m", "cxr_edge", "infer", *images, "--json"], check=True, capture_output=True, cwd="/")


if __name__ == "__main__":
    typer.run(main)
