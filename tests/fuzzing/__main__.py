"""Decode damaged images: ``python -m tests.fuzzing --inputs 100000``."""

import collections
import json
import os
import subprocess
import sys
import time
import warnings
from pathlib import Path
from typing import Annotated, Any

import psutil
import typer

from benchmarks.dicom.patient import found
from cxr_edge import errors, images
from tests.fuzzing.mutations import damaged
from tests.fuzzing.seeds import valid_images

IMAGE = Path(__file__).parents[2] / "samples" / "00009507_004.png"
#: Limits of time and memory; an input that exceeds one is a find.
MOST_SECONDS, MOST_MIB = 2.0, 500


def main(
    inputs: Annotated[int, typer.Option(min=1, help="Damaged images to try.")] = 1000,
    seed: Annotated[int, typer.Option(help="Seed of the damage.")] = 0,
    begin: Annotated[int, typer.Option("--from", min=0, help="Number of the first image.")] = 0,
    child: Annotated[bool, typer.Option(hidden=True)] = False,
) -> None:
    """Decode damaged images; each must return an image or an error with a code, in bounded time and memory.

    No warning or error may contain a value of the patient in their headers.

    Exit status: 0 without a find; 1 with finds, each with its number, which `--from N --inputs 1` repeats.
    """
    if child:
        _serve(inputs, seed, begin)
        return
    outcomes: collections.Counter[str] = collections.Counter()
    finds, slowest, at = [], 0.0, begin
    command = [sys.executable, "-m", "tests.fuzzing", "--child", "--seed", str(seed)]
    while at < begin + inputs:
        run = [*command, "--from", str(at), "--inputs", str(begin + inputs - at)]
        with subprocess.Popen(run, stdout=subprocess.PIPE, text=True) as process:
            for line in process.stdout or ():
                tried = json.loads(line)
                at = tried["number"] + 1
                outcomes[tried["outcome"]] += 1
                slowest = max(slowest, tried["seconds"])
                finds += [tried] * tried["find"]
        if process.returncode:
            finds.append({"number": at, "outcome": f"the process ended with {process.returncode}"})
            at += 1
    report = {"inputs": inputs, "seed": seed, "outcomes": dict(outcomes.most_common())}
    typer.echo(json.dumps({**report, "slowest_seconds": round(slowest, 3), "finds": finds}, indent=1))
    raise typer.Exit(1 if finds else 0)


def _serve(inputs: int, seed: int, begin: int) -> None:
    files = list(valid_images(IMAGE).values())
    process = psutil.Process(os.getpid())
    for number in range(begin, begin + inputs):
        typer.echo(json.dumps({"number": number, **_try(damaged(files, seed, number), process)}))


def _try(data: bytes, process: psutil.Process) -> dict[str, Any]:
    begun, expected, messages = time.perf_counter(), True, []
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            messages += [warning.message for warning in images.decode(data).warnings]
        outcome = "image"
    except errors.InputError as error:
        outcome = error.code
        messages += [str(error), str(error.__cause__)]
    except Exception as error:  # what the fuzzer searches for
        outcome, expected = f"{type(error).__name__}: {error}"[:200], False
    seconds = time.perf_counter() - begun
    large = process.memory_info().rss > MOST_MIB * 2**20
    leaked = found("\n".join([*messages, *(str(warning.message) for warning in caught)]))
    find = not expected or seconds > MOST_SECONDS or large or bool(leaked)
    return {"outcome": outcome, "seconds": seconds, "find": find, "leaked": leaked}


if __name__ == "__main__":
    typer.run(main)
