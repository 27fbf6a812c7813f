"""Measure how fast this machine is, and what limits it: the content of ``cxr-edge bench``."""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from typing import Any, Final, TypeVar

import cv2
import numpy as np

from cxr_edge.backends import Resources
from cxr_edge.diagnostics.doctor import machine, packages
from cxr_edge.images import DecodedImage, decode
from cxr_edge.model.bundle import Bundle
from cxr_edge.model.graphs import open_graphs
from cxr_edge.model.model import Model
from cxr_edge.model.preprocess import preprocess
from cxr_edge.model.results import Result
from cxr_edge.outputs.drawing import draw_overlay
from cxr_edge.support.parallel import map_in_order

#: The image that is timed where none is named: one of NIH ChestX-ray14, 1024x1024, PNG.
SAMPLE: Final = Path(__file__).parent / "sample.png"

#: Most images held in memory: the first of a longer list.
MOST_IMAGES: Final = 64
#: Fewest runs of each measurement, however long they take.
LEAST_RUNS: Final = 5
#: Inputs in one call of the network: at most as many as devices are opened for.
BATCHES: Final = (1, 2, 4, 6)
PERCENTILES: Final = (50, 90, 99)

T = TypeVar("T")
#: Called with the name of a step, and the share of all steps that is done, 0 to 1.
Progress = Callable[[str, float], None]


@dataclass(frozen=True)
class Subject:
    """What is measured.

    Attributes
    ----------
    bundle : Bundle
    device : str
    precision : str or None
    threads : int
        CPU threads that share one image where single images are timed; otherwise images in work at a time.
    """

    bundle: Bundle
    device: str
    precision: str | None
    threads: int

    def model(self, threads: int) -> Model:
        """Load the bundle."""
        return Model(self.bundle, self.device, self.precision, Resources(threads=threads))


def bench(subject: Subject, images: Sequence[bytes], seconds: float, progress: Progress) -> dict[str, Any]:
    """Measure latency, throughput, and the shares of the steps.

    Parameters
    ----------
    subject : Subject
    images : sequence of bytes
        Content of image files that can be decoded.
    seconds : float
        About how long all measurements may take.
    progress : callable

    Returns
    -------
    dict
        Ready for JSON.

    Raises
    ------
    DeviceUnavailable, UnknownPrecision, BundleTensors, DeviceFailed, InputError
    """
    images = images[:MOST_IMAGES]
    began = time.perf_counter()
    alone = subject.model(subject.threads)
    loading = time.perf_counter() - began
    began = time.perf_counter()
    alone.predict(images[0])
    first = time.perf_counter() - began
    manifest = subject.bundle.manifest
    modes = {"one variant": False, "all variants": True} if len(manifest.tta.variants) > 1 else {"one variant": False}
    # Name → whether all variants, and whether heat maps.
    latencies = {f"one image, {name}": (tta, False) for name, tta in modes.items()}
    if manifest.maps is not None:
        latencies["one image, one variant, heat maps"] = (False, True)

    def latency(tta: bool, heatmaps: bool) -> Callable[[float], Any]:
        return lambda s: _latency(lambda image: alone.predict(image, tta=tta, heatmaps=heatmaps), images, s)

    def throughput(tta: bool) -> Callable[[float], Any]:
        return lambda s: _throughput(subject, images, s, tta=tta)

    steps: dict[str, Callable[[float], Any]] = {
        **{name: latency(*options) for name, options in latencies.items()},
        **{f"images/s, {name}": throughput(tta) for name, tta in modes.items()},
        "network, by batch": lambda s: _batches(subject, images, s),
        "shares": lambda s: _shares(subject, images, s),
    }
    found = {}
    for number, (name, step) in enumerate(steps.items()):
        progress(name, number / len(steps))
        found[name] = step(seconds / len(steps))
    progress("done", 1.0)
    return {
        "machine": {**machine(), "load_average": os.getloadavg() if hasattr(os, "getloadavg") else None},
        "packages": packages(),
        "bundle": alone.identity,
        "gate": manifest.gate(alone.precision),
        "device": alone.device,
        "device_reason": alone.device_reason,
        "precision": alone.precision,
        "threads": subject.threads,
        "images": len(images),
        "variants": len(manifest.tta.variants),
        "load_ms": loading * 1e3,
        "first_result_ms": first * 1e3,
        "latency_ms": {name: found[name] for name in latencies},
        "images_per_second": {name: found[f"images/s, {name}"] for name in modes},
        "network": found["network, by batch"],
        "shares": found["shares"],
    }


def _latency(run: Callable[[T], object], items: Sequence[T], seconds: float) -> dict[str, float]:
    """Time one item after the other; return the percentiles in ms."""
    for item in islice(cycle(items), LEAST_RUNS):
        run(item)
    times = []
    until = time.perf_counter() + seconds
    for item in cycle(items):
        began = time.perf_counter()
        run(item)
        times.append(time.perf_counter() - began)
        if len(times) >= LEAST_RUNS and time.perf_counter() > until:
            break
    milliseconds = np.percentile(times, PERCENTILES) * 1e3
    return {"n": len(times), **{f"p{p}": float(value) for p, value in zip(PERCENTILES, milliseconds, strict=True)}}


def _throughput(subject: Subject, images: Sequence[bytes], seconds: float, *, tta: bool) -> dict[str, float]:
    """Measure images per second with one image per thread, as a directory run works."""
    with _one_opencv_thread():
        model = subject.model(1)
        until = time.perf_counter() + seconds
        count, began = 0, time.perf_counter()
        endless = _until(cycle(images), until, LEAST_RUNS * subject.threads)
        for _ in map_in_order(lambda image: model.predict(image, tta=tta), endless, subject.threads):
            count += 1
        return {"n": count, "images_per_second": count / (time.perf_counter() - began)}


def _until(items: Iterator[T], until: float, least: int) -> Iterator[T]:
    for number, item in enumerate(items):
        if number >= least and time.perf_counter() > until:
            return
        yield item


def _batches(subject: Subject, images: Sequence[bytes], seconds: float) -> list[dict[str, float]]:
    """Time the networks alone, on all threads, from a batch of TTA variants to probabilities."""
    manifest = subject.bundle.manifest
    graphs = open_graphs(subject.bundle, subject.device, subject.precision, Resources(threads=subject.threads))
    pixels = decode(images[0]).pixels
    sizes = [size for size in BATCHES if size <= len(manifest.tta.variants)]
    rows = []
    for size in sizes:
        batches = graphs.batches(pixels, manifest.tta.variants[:size])
        latency = _latency(graphs.probabilities, [batches], seconds / len(sizes))
        rows.append({"batch": size, **latency, "inputs_per_second": 1e3 * size / latency["p50"]})
    return rows


def _shares(subject: Subject, images: Sequence[bytes], seconds: float) -> dict[str, dict[str, float]]:
    """Time the steps of an image one by one, on one thread; return medians in ms, and their shares of the sum."""
    manifest = subject.bundle.manifest
    fitted = manifest.input
    with _one_opencv_thread():
        model = subject.model(1)
        graphs = open_graphs(subject.bundle, subject.device, subject.precision, Resources())
        decoded = [decode(image) for image in images]
        shown = [graphs.batches(image.pixels, manifest.tta.variants[:1]) for image in decoded]
        results = [model.predict(image, tta=False, heatmaps=True) for image in decoded] if manifest.maps else []

        def draw(pair: tuple[DecodedImage, Result]) -> None:
            image, result = pair
            draw_overlay(image.pixels, result, result.ranked()[0][0].name, "turbo")

        steps: dict[str, tuple[Callable[[Any], object], Sequence[Any]]] = {
            "decode": (decode, images),
            "resize": (lambda image: preprocess(image.pixels, fitted.size, fitted.fit), decoded),
            "inference": (graphs.probabilities, shown),
        }
        if manifest.maps is not None:
            steps["drawing"] = (draw, list(zip(decoded, results, strict=True)))
        medians = {name: _latency(run, items, seconds / len(steps))["p50"] for name, (run, items) in steps.items()}
    total = sum(medians.values())
    return {name: {"ms": ms, "share": ms / total} for name, ms in medians.items()}


@contextmanager
def _one_opencv_thread() -> Iterator[None]:
    """Limit OpenCV to one thread: with one image per core, more threads would only compete with each other."""
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(before)
