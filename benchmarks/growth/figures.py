"""Figures of runs: throughput, memory and its course, and the line through the seconds."""

import statistics
from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from benchmarks.growth.processes import Run

#: Largest relative difference between the memory of the last and the middle third of a flat run.
FLAT: Final = 0.05


def throughput(count: int, runs: Sequence[Run]) -> dict[str, Any]:
    """Return the images per second over the whole process, and after its first result: medians over the runs."""
    seconds = [run.seconds for run in runs]
    after_first = [(count - 1) / (run.seconds - run.first_line) for run in runs if run.first_line is not None]
    return {
        "rounds": len(runs),
        "seconds": statistics.median(seconds),
        "seconds_spread": [min(seconds), max(seconds)],
        "images_per_second": count / statistics.median(seconds),
        "images_per_second_after_first": statistics.median(after_first) if after_first else None,
    }


def memory(runs: Sequence[Run]) -> dict[str, Any]:
    """Return the memory figures of the run that took the most memory."""
    most = max(runs, key=lambda run: run.peak)
    shown = most.memory[:: max(1, len(most.memory) // 100)]
    curve = [(round(when, 2), round(resident, 1)) for when, resident in shown]
    return {"peak_mib": most.peak, **trend(most.memory), "mib_over_seconds": curve}


def trend(samples: Sequence[tuple[float, float]]) -> dict[str, Any]:
    """Return the course of resident memory within a run.

    Returns
    -------
    dict
        MiB at 10, 50 and 100 % of the run (100: the last sample), ``middle_third_mib`` and ``last_third_mib``
        (medians), and ``flat``: whether these two differ by at most `FLAT`.
    """
    when, resident = np.array(samples).T
    share = when / when[-1]
    middle = float(np.median(resident[(share >= 1 / 3) & (share <= 2 / 3)])) if len(samples) >= 3 else None
    last = float(np.median(resident[share >= 2 / 3]))
    return {
        "at_mib": {f"{int(s * 100)}%": float(resident[np.abs(share - s).argmin()]) for s in (0.1, 0.5, 1.0)},
        "middle_third_mib": middle,
        "last_third_mib": last,
        "flat": None if middle is None else abs(last - middle) <= FLAT * middle,
    }


def fit_line(counts: Sequence[int], seconds: Sequence[float]) -> dict[str, float] | None:
    """Fit seconds = start-up + images x slope by least squares; None for fewer than two counts."""
    if len(set(counts)) < 2:
        return None
    slope, intercept = np.polyfit(counts, seconds, 1)
    residuals = np.asarray(seconds) - (intercept + slope * np.asarray(counts))
    spread = np.asarray(seconds) - np.mean(seconds)
    return {
        "ms_per_image": float(slope * 1e3),
        "start_up_s": float(intercept),
        "r_squared": float(1 - residuals @ residuals / (spread @ spread)),
    }
