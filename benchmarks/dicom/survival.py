"""The hostile set: each file meets a process of its own, which is watched from outside."""

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import psutil

from benchmarks.dicom.dicom_files import image, written
from benchmarks.dicom.hostile import hostile_files
from benchmarks.workers import ROOT

SAMPLING_SECONDS: Final = 0.004
#: No file may keep a process for longer.
MOST_SECONDS: Final = 120.0


def hostile_set(pixels: npt.NDArray[np.uint8], repeats: int) -> list[dict[str, Any]]:
    """Let processes read the hostile files, one each, between two images.

    Parameters
    ----------
    pixels : ndarray, (H, W) uint8
        A real image.
    repeats : int
        Processes for each file; the median of their times and the largest of their memories is told.
    """
    rows = []
    with tempfile.TemporaryDirectory(prefix="cxr-edge-hostile-") as folder:
        good, hostile = Path(folder) / "good.dcm", Path(folder) / "hostile.dcm"
        good.write_bytes(written(image(pixels)))
        for name, data, codes in hostile_files(pixels):
            hostile.write_bytes(data)
            rows.append({"file": name, "bytes": len(data)} | _met(good, hostile, repeats))
            if rows[-1]["code"] not in codes:
                raise RuntimeError(f"{name}: expected one of {sorted(codes)}, got {rows[-1]['code']}")
    return rows


def _met(good: Path, hostile: Path, repeats: int) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.dicom.reader", str(good), str(hostile)]
    told = [_watched(command) for _ in range(repeats)]
    codes = {one["code"] for one in told}
    return {
        "code": "/".join(sorted(codes)),
        "median_ms": round(statistics.median(one["ms"] for one in told), 1),
        "largest_ms": round(max(one["ms"] for one in told), 1),
        "peak_mib": round(max(one["peak_mib"] for one in told)),
        "next_image_is_the_same": all(one["next_image_is_the_same"] for one in told),
    }


def _watched(command: Sequence[str]) -> dict[str, Any]:
    """Run a process, and add up the most memory that it and each of its decoders ever had."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT, text=True) as process:
        peaks: dict[int, float] = {}
        end = time.monotonic() + MOST_SECONDS
        while process.poll() is None:
            _look(process.pid, peaks)
            if time.monotonic() > end:
                process.kill()
                raise RuntimeError(f"{' '.join(command[2:])}: still at work after {MOST_SECONDS:.0f} s")
            time.sleep(SAMPLING_SECONDS)
        output, errors = process.communicate()
    if process.returncode != 0:
        raise RuntimeError(f"the reader ended with status {process.returncode}: {errors[-1000:]}")
    told: dict[str, Any] = json.loads(output)
    return told | {"peak_mib": sum(peaks.values())}


def _look(pid: int, peaks: dict[int, float]) -> None:
    """Keep the peak of a process and its children, which Linux remembers between two looks."""
    try:
        root = psutil.Process(pid)
        for one in (root, *root.children(recursive=True)):
            status = Path(f"/proc/{one.pid}/status").read_text()
            if "VmHWM:" in status:
                peaks[one.pid] = max(peaks.get(one.pid, 0.0), int(status.split("VmHWM:")[1].split()[0]) / 1024)
    except (psutil.NoSuchProcess, FileNotFoundError, ProcessLookupError):  # it ended since it was listed
        return
