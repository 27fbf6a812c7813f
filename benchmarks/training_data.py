"""Speed and memory of ``prepare``, of making batches, and of one epoch: ``python -m benchmarks.training_data``.

The directories have NIH's layout and contain real images, repeated under other names.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from benchmarks.images import SAMPLES
from benchmarks.measure import machine
from training.labels import read_labels
from training.recipe import DEFAULT, change_recipe, read_recipe

#: Side of the training images; small, so that an epoch of 10,000 images ends within minutes on two cores.
SIZE = 64

RECIPE = f"""
initial = "random"
split = {{ validation = 0.1 }}
stages = [{{ size = {SIZE}, epochs = 1, learning_rate = 1e-3 }}]
"""


#: Of the recipe whose batches are made.
BATCH_STAGE = "{size=224,epochs=1,learning_rate=1e-3}"


def make_layout(root: Path, images: list[Path], count: int) -> Path:
    """Make a directory in the layout of NIH's downloads: folders of 5,000 images, the label table, the test list."""
    rng, known = np.random.default_rng(0), read_labels()
    rows, test = [], []
    for index in range(count):
        name = f"{index // 3:08d}_{index % 3:03d}.png"
        folder = root / f"images_{1 + index // 5000:03d}" / "images"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).symlink_to(images[index % len(images)].resolve())
        ill = rng.random() < 0.5
        marked = rng.choice(known.findings, rng.integers(1, 4), replace=False) if ill else known.normal
        rows.append(f"{name},{'|'.join(marked)},0,{index // 3},50,F,PA,1024,1024,0.1,0.1")
        if index // 3 % 5 == 0:
            test.append(name)
    head = (
        "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
        "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y]"
    )
    (root / "Data_Entry_2017_v2020.csv").write_text("\n".join([head, *rows]) + "\n")
    (root / "test_list.txt").write_text("\n".join(test) + "\n")
    return root


def measure(*arguments: str) -> tuple[float, float]:
    """Run a command of the training package; return its seconds and its peak resident memory in MiB."""
    began = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-m", "training", *arguments], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, arguments)
    return time.perf_counter() - began, usage.ru_maxrss / 1024


def measure_batches(cache: Path) -> dict[str, Any]:
    """Make the batches of an epoch at 224 pixels, by `best.toml`, without a network; return images per second.

    One core: by the CPU time of all threads. A GPU waits for the batches where it computes faster.
    """
    from training.data.images import load_part
    from training.data.nih import read_dataset
    from training.data.splits import split_images
    from training.fitting.batches import Batches

    labels, recipe = read_labels(), change_recipe(read_recipe(DEFAULT), [f"stages=[{BATCH_STAGE}]"])
    train = split_images(read_dataset(cache, labels), recipe.split)["train"]
    batches = Batches(load_part(train, recipe.stages[0].size, "train", labels), recipe)
    began, used = time.perf_counter(), time.process_time()
    shown = sum(len(batches[index][1]) for index in range(len(batches)))
    seconds, of_cpu = time.perf_counter() - began, time.process_time() - used
    return {"images_per_second": round(shown / seconds), "images_per_second_of_a_core": round(shown / of_cpu)}


def measure_count(images: list[Path], count: int) -> dict[str, Any]:
    """Prepare a directory of so many images, fit one epoch on the cache, and return rates and peak memory."""
    with tempfile.TemporaryDirectory() as scratch:
        root = make_layout(Path(scratch, "nih"), images, count)
        recipe = Path(scratch, "recipe.toml")
        recipe.write_text(RECIPE)
        cache, run = str(Path(scratch, "cache")), str(Path(scratch, "run"))
        prepare_s, prepare_mib = measure("prepare", str(root), "--out", cache, "--size", str(SIZE), "--size", "224")
        batches = measure_batches(Path(cache))
        epoch_s, epoch_mib = measure("fit", cache, "--out", run, "--recipe", str(recipe))
    return {
        "images": count,
        "prepare": {"images_per_second": round(count / prepare_s, 1), "peak_mib": round(prepare_mib)},
        "batches at 224 pixels": batches,
        "one epoch": {"images_per_second": round(count / epoch_s, 1), "peak_mib": round(epoch_mib)},
    }


def main(
    images: Annotated[Path, typer.Option(help="Folder of PNG images.", exists=True, file_okay=False)] = SAMPLES,
    counts: Annotated[
        list[int] | None, typer.Option("--count", help="Images of a directory; repeatable. [default: 2000 and 10000]")
    ] = None,
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the figures here as JSON.")] = None,
) -> None:
    """Measure the training data pipeline at several sizes, with the start of its processes."""
    paths = sorted(images.glob("*.png"))
    if not paths:
        raise typer.BadParameter(f"{images} contains no PNG file", param_hint="--images")
    figures = {
        "machine": machine(),
        "epoch at": f"{SIZE} pixels, validation included",
        "directories": [measure_count(paths, count) for count in counts or (2000, 10_000)],
    }
    text = json.dumps(figures, indent=2)
    typer.echo(text)
    if out is not None:
        out.write_text(text + "\n")


if __name__ == "__main__":
    typer.run(main)
