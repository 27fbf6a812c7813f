"""Interleaved timing: every round runs every candidate once, so that noise affects all alike."""

import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final

import numpy as np

from cxr_edge.support.parallel import usable_cores

#: Packages whose versions are recorded with the figures.
PACKAGES: Final = (
    "ai-edge-litert",
    "cxr-edge",
    "imagecodecs",
    "isal",
    "keras",
    "kornia-rs",
    "mlcommons-loadgen",
    "numpy",
    "onnx",
    "onnxruntime",
    "onnxruntime-gpu",
    "opencv-python-headless",
    "openvino",
    "pydicom",
    "simplejpeg",
    "tensorflow",
    "tensorflow-cpu",
    "tf2onnx",
    "torch",
    "torchxrayvision",
)
#: CPU features that affect a network's speed, as Linux names them.
CPU_FEATURES: Final = (
    "avx",
    "avx2",
    "fma",
    "avx512f",
    "avx512bw",
    "avx512vl",
    "avx512_vnni",
    "avx512_bf16",
    "avx512_fp16",
    "avx_vnni",
    "amx_bf16",
    "amx_int8",
    "asimd",
    "asimddp",
    "bf16",
    "i8mm",
    "sve",
)


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
    return self_timed({name: _timed(run) for name, run in candidates.items()}, rounds, warm_up)


def self_timed(
    candidates: Mapping[str, Callable[[], float]], rounds: int, warm_up: int = 1, pause: float = 0.0
) -> dict[str, list[float]]:
    """Run candidates that time themselves, in alternating order.

    Parameters
    ----------
    candidates : mapping
        Name → function that returns its own seconds.
    rounds : int
    warm_up : int
        Rounds that are not counted.
    pause : float
        Seconds between two runs, in which the threads of the last one stop spinning.

    Returns
    -------
    dict
        Name → seconds of each round.
    """
    seconds: dict[str, list[float]] = {name: [] for name in candidates}
    for number in range(-warm_up, rounds):
        for name in candidates if number % 2 else reversed(candidates):
            time.sleep(pause)
            elapsed = candidates[name]()
            if number >= 0:
                seconds[name].append(elapsed)
    return seconds


def _timed(run: Callable[[], object]) -> Callable[[], float]:
    def timed() -> float:
        start = time.perf_counter()
        run()
        return time.perf_counter() - start

    return timed


def summary(seconds: Mapping[str, list[float]], baseline: str) -> dict[str, Any]:
    """Return medians in milliseconds, and the median of each round's ratio to the baseline.

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


def spread(values: Sequence[float]) -> dict[str, float]:
    """Return the median, the 10th and the 90th percentile of measured values.

    Returns
    -------
    dict
        ``n``, ``median``, ``p10``, ``p90``.
    """
    p10, median, p90 = np.percentile(values, [10, 50, 90])
    return {"n": len(values), "median": float(median), "p10": float(p10), "p90": float(p90)}


def ratio(numerator: Sequence[float], denominator: Sequence[float]) -> dict[str, float]:
    """Return the spread of the ratios of single rounds; see `spread`."""
    return spread([n / d for n, d in zip(numerator, denominator, strict=True)])


def load_average() -> tuple[float, ...] | None:
    """Return the system's load over 1, 5 and 15 minutes; None on Windows, which does not report it."""
    return os.getloadavg() if hasattr(os, "getloadavg") else None


def machine() -> dict[str, Any]:
    """Describe the machine and the packages that the figures are measured with."""
    return {
        "platform": platform.platform(),
        "processor": _processor(),
        "features": _features(),
        "cores": os.cpu_count(),
        "usable_cores": usable_cores(),
        "memory_gib": _memory_gib(),
        "load_average": load_average(),
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in PACKAGES},
    }


def _processor() -> str:
    return _cpuinfo("model name") or platform.processor()


def _features() -> list[str] | None:
    """Return those of `CPU_FEATURES` that this CPU has; None where the system does not report them."""
    flags = _cpuinfo("flags") or _cpuinfo("Features")
    return [name for name in CPU_FEATURES if name in flags.split()] if flags else None


def _cpuinfo(key: str) -> str:
    """Return the first value of a key in Linux's ``/proc/cpuinfo``; empty elsewhere."""
    try:
        with open("/proc/cpuinfo") as file:
            return next((line.split(":")[1].strip() for line in file if line.split(":")[0].strip() == key), "")
    except OSError:
        return ""


def _memory_gib() -> float | None:
    if not hasattr(os, "sysconf") or "SC_PHYS_PAGES" not in os.sysconf_names:
        return None
    return round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30, 1)


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
