"""The hostile set: each file is read in a separate process, which is monitored from outside."""

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
#: Most time that a process may take for a file.
MOST_SECONDS: Final = 120.0


def hostile_set(pixels: npt.NDArray[np.uint8], repeats: int) -> list[dict[str, Any]]:
    """Read each hostile file in separate processes, between two reads of a good image.

    Parameters
    ----------
    pixels : ndarray, (H, W) uint8
        A real image.
    repeats : int
        Processes for each file; the median of their times and the largest of their memories are reported.
    """
    rows = []
    with tempfile.TemporaryDirectory(prefix="cxr-edge-hostile-") as folder:
        good, hostile = Path(folder) / "good.dcm", Path(folder) / "hostile.dcm"
        good.write_bytes(written(image(pixels)))
        for name, data, codes in hostile_files(pixels):
            hostile.write_bytes(data)
            rows.append({"file": name, "bytes": len(data)} | _measured(good, hostile, repeats))
            if rows[-1]["code"] not in codes:
                raise RuntimeError(f"{name}: expected one of {sorted(codes)}, got {rows[-1]['code']}")
    return rows


def _measured(good: Path, hostile: Path, repeats: int) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.dicom.reader", str(good), str(hostile)]
    runs = [_monitored(command) for _ in range(repeats)]
    codes = {run["code"] for run in runs}
    return {
        "code": "/".join(sorted(codes)),
        "median_ms": round(statistics.median(run["ms"] for run in runs), 1),
        "largest_ms": round(max(run["ms"] for run in runs), 1),
        "peak_mib": round(max(run["peak_mib"] for run in runs)),
        "next_image_is_the_same": all(run["next_image_is_the_same"] for run in runs),
    }


def _monitored(command: Sequence[str]) -> dict[str, Any]:
    """Run a process; return its JSON and the sum of the peak memory of it and each of its decoders."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT, text=True) as process:
        peaks: dict[int, float] = {}
        end = time.monotonic() + MOST_SECONDS
        while process.poll() is None:
            _sample(process.pid, peaks)
            if time.monotonic() > end:
                process.kill()
                raise RuntimeError(f"{' '.join(command[2:])}: still running after {MOST_SECONDS:.0f} s")
            time.sleep(SAMPLING_SECONDS)
        output, errors = process.communicate()
    if process.returncode != 0:
        raise RuntimeError(f"the reader ended with status {process.returncode}: {errors[-1000:]}")
    report: dict[str, Any] = json.loads(output)
    return report | {"peak_mib": sum(peaks.values())}


def _sample(pid: int, peaks: dict[int, float]) -> None:
    """Record the peak memory of a process and its children, which Linux keeps between two samples."""
    try:
        root = psutil.Process(pid)
        for one in (root, *root.children(recursive=True)):
            status = Path(f"/proc/{one.pid}/status").read_text()
            if "VmHWM:" in status:
                peaks[one.pid] = max(peaks.get(one.pid, 0.0), int(status.split("VmHWM:")[1].split()[0]) / 1024)
    except (psutil.NoSuchProcess, FileNotFoundError, ProcessLookupError):  # it ended since it was listed
        return
