"""``cxr-edge bench``: measure how fast this machine is, and what limits it."""

import json
from typing import Annotated, Any

import typer

from cxr_edge.cli.shared import NO_MODEL_OR_DEVICE, USAGE, BundleOption, DeviceOption, JsonOption, fail
from cxr_edge.errors import CxrEdgeError, InputError, UnknownPrecision
from cxr_edge.images import decode
from cxr_edge.images.files import discover, read_bytes
from cxr_edge.model.bundle import read_bundle
from cxr_edge.support.parallel import usable_cores
from cxr_edge.support.text import printable, printable_path


def bench(
    paths: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="PATH",
            show_default="an image of 1024x1024 that comes with cxr-edge",
            help="Images to time (PNG, JPEG, DICOM) or directories; the first 64 are used. Decoding time depends on "
            "the images, so time your own.",
        ),
    ] = None,
    device: DeviceOption = "auto",
    precision: Annotated[
        str | None, typer.Option(metavar="NAME", show_default="as for infer", help="A variant of the bundle.")
    ] = None,
    bundle: BundleOption = None,
    threads: Annotated[
        int | None, typer.Option(metavar="N", min=1, max=256, show_default="all cores", help="CPU threads to use.")
    ] = None,
    seconds: Annotated[float, typer.Option(metavar="N", min=0.1, max=3600, help="About how long to measure.")] = 30.0,
    json_output: JsonOption = False,
) -> None:
    """Measure latency, throughput and what limits them, on this machine.

    Latency: one image at a time on all threads, from the bytes of its file to its result. Images per second: one
    image on each core, as in a directory run. The network alone, by batch size. The steps of one image, on one core.

    Exit status: 0; 2 usage, or an image that cannot be read; 3 the model or the device is unavailable.
    """
    from cxr_edge.cli.terminal import phases
    from cxr_edge.diagnostics.bench import MOST_IMAGES, SAMPLE, Subject
    from cxr_edge.diagnostics.bench import bench as measure

    images = [_image(path) for path in discover(paths or [str(SAMPLE)])[:MOST_IMAGES]]
    if not images:
        raise typer.BadParameter("the directory contains no file", param_hint="PATH")
    try:
        subject = Subject(read_bundle(bundle), device, precision, threads or usable_cores())
        with phases("measuring") as show:
            found = measure(subject, images, seconds, lambda _, done: show("measuring", done))
    except UnknownPrecision as error:
        fail(error, USAGE)
    except CxrEdgeError as error:
        fail(error, NO_MODEL_OR_DEVICE)
    if json_output:
        typer.echo(json.dumps(found, indent=1))
    else:
        _print(found)


def _image(path: str) -> bytes:
    """Read an image and decode it once, so that a refused image fails before the measurement starts."""
    try:
        data = read_bytes(path)
        decode(data)
    except InputError as error:
        typer.echo(f"cxr-edge: {printable(printable_path(path))}: {error.code}: {printable(str(error))}", err=True)
        raise typer.Exit(USAGE) from error
    return data


def _print(found: dict[str, Any]) -> None:
    from cxr_edge.cli.terminal import print_sections

    load = found["machine"]["load_average"]
    busy = "" if load is None else f"; load average {load[0]:.1f}"
    images = "image" if found["images"] == 1 else "images"
    print_sections(
        {
            "Measured": {
                "model": f"{found['bundle']} in {found['precision']} on {found['device']} ({found['device_reason']})",
                "machine": f"{found['machine']['usable_cores']} cores, {found['threads']} threads used{busy}",
                "images": f"{found['images']} {images} in memory: the disk is not timed",
                "start": f"load {found['load_ms']:.0f} ms, first result {found['first_result_ms']:.0f} ms after that",
            },
            "Latency of one image, file to result": {
                name.removeprefix("one image, "): _percentiles(times) for name, times in found["latency_ms"].items()
            },
            "Images per second, one image per core": {
                name: f"{rate['images_per_second']:.1f} (n {rate['n']})"
                for name, rate in found["images_per_second"].items()
            },
            "Network alone": {
                f"batch {row['batch']}": f"{_percentiles(row)}; {row['inputs_per_second']:.0f} inputs/s"
                for row in found["network"]
            },
            f"What limits it: one image on one core, one TTA variant{_drawn(found)}": {
                name: f"{step['ms']:7.2f} ms {step['share']:5.0%} {'█' * round(30 * step['share'])}"
                for name, step in found["shares"].items()
            },
        },
        _advice(found["shares"], found["variants"]),
    )


def _drawn(found: dict[str, Any]) -> str:
    return " and one overlay" if "drawing" in found["shares"] else "; the bundle has no heat maps"


def _percentiles(times: dict[str, float]) -> str:
    return f"p50 {times['p50']:.2f}  p90 {times['p90']:.2f}  p99 {times['p99']:.2f} ms (n {times['n']})"


def _advice(shares: dict[str, dict[str, float]], variants: int) -> str:
    largest = max(shares, key=lambda name: shares[name]["share"])
    fewer = ", --no-tta or --adaptive" if variants > 1 else ""
    remedies = {
        "decode": "Decoding takes most of the time: smaller images, or JPEG, would help; a faster device would not.",
        "resize": "Resizing takes most of the time: images of fewer pixels would help.",
        "inference": f"Inference takes most of the time: a GPU{fewer} would help (`cxr-edge doctor`).",
        "drawing": "Overlays take most of the time: leave out --cam, or ask for fewer.",
    }
    return remedies[largest]
