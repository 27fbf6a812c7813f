"""Interleaved timing: every round runs every candidate once, so that noise meets all alike."""

import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any


def interleaved(
    candidates: Mapping[str, Callable[[], object]], rounds: int, warm_up: int = 1
) -> dict[str, list[float]]:
    """Time candidates in alternating order.

    Parameters
    ----------
    candidates : mapping
        Name → function to time.
    rounds : int
    warm_up : int
        Rounds that are not counted.

    Returns
    -------
    dict
        Name → seconds of each round.
    """
    seconds: dict[str, list[float]] = {name: [] for name in candidates}
    for number in range(-warm_up, rounds):
        for name in candidates if number % 2 else reversed(candidates):
            start = time.perf_counter()
            candidates[name]()
            if number >= 0:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def summary(seconds: Mapping[str, list[float]], baseline: str) -> dict[str, Any]:
    """Give medians in milliseconds, and the median of each round's ratio to the baseline.

    Returns
    -------
    dict
        ``n``, and for each name ``median_ms`` and ``ratio`` (its time over the baseline's).
    """
    of_baseline = seconds[baseline]
    return {
        "n": len(of_baseline),
        "baseline": baseline,
        **{
            name: {
                "median_ms": round(statistics.median(times) * 1e3, 3),
                "ratio": round(statistics.median(t / b for t, b in zip(times, of_baseline, strict=True)), 3),
            }
            for name, times in seconds.items()
        },
    }


def machine() -> dict[str, Any]:
    """Tell what the figures were measured on."""
    return {
        "platform": platform.platform(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "load_average": os.getloadavg() if hasattr(os, "getloadavg") else None,
        "python": platform.python_version(),
        "packages": {
            name: _version(name) for name in ("numpy", "onnxruntime", "opencv-python-headless", "tensorflow-cpu")
        },
    }


def _processor() -> str:
    try:
        with open("/proc/cpuinfo") as file:
            names = [line.split(":")[1].strip() for line in file if line.startswith("model name")]
    except OSError:
        return platform.processor()
    return names[0] if names else platform.processor()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
