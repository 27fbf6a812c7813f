"""Counting: one process under valgrind's callgrind, and one without, each on one thread.

Valgrind emulates the same CPU on every host that has its features: Intel's Haswell, with AVX2 and FMA and without
AVX-512. So ONNX Runtime, NumPy and OpenCV choose the same AVX2 kernels on all of them.
"""

import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from benchmarks.instructions.paths import IMAGE
from benchmarks.instructions.worker import MARKER
from cxr_edge.model.bundle import read_bundle

ROOT: Final = Path(__file__).parents[2]
PACKAGES: Final = ("numpy", "onnxruntime", "opencv-python-headless", "isal", "kornia-rs", "simplejpeg", "onnx")

#: Without PYTHONHASHSEED, hashing varies from process to process; a benchmark sends no telemetry.
_SETTLED: Final = {
    "PYTHONHASHSEED": "0",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "ORT_DISABLE_TELEMETRY": "1",
}

Counts = dict[str, dict[str, int]]


class ValgrindMissing(RuntimeError):
    """Valgrind is not installed on this machine."""


def identity() -> dict[str, str]:
    """Return what the counts are valid for, except the processor, which only a process under valgrind sees.

    Raises
    ------
    ValgrindMissing
    """
    return {
        "python": f"{platform.python_version()}, {platform.python_compiler()}",
        "libc": " ".join(platform.libc_ver()),
        "machine": platform.machine(),
        "valgrind": _run([_valgrind(), "--version"]).strip(),
        **{name: version(name) for name in PACKAGES},
        "image": sha256(IMAGE.read_bytes()).hexdigest(),
        "bundle": read_bundle().sha256,
    }


def measure() -> tuple[Counts, dict[str, str]]:
    """Count everything.

    Returns
    -------
    counts : dict
        Kind → name → count, for one image.
    identity : dict
        What they are valid for.

    Raises
    ------
    ValgrindMissing
    """
    known = identity()
    instructions, processor = _instructions()
    rest: Counts = json.loads(_run([sys.executable, "-m", "benchmarks.instructions.worker", "rest"]))
    return {"instructions": instructions, **rest}, {**known, "processor": processor}


def _instructions() -> tuple[dict[str, int], str]:
    with tempfile.TemporaryDirectory() as scratch:
        printed: dict[str, Any] = json.loads(
            _run(
                [
                    _valgrind(),
                    "--quiet",
                    "--tool=callgrind",
                    "--separate-threads=yes",
                    f"--dump-before={MARKER}",
                    f"--callgrind-out-file={scratch}/counts",
                    sys.executable,
                    "-m",
                    "benchmarks.instructions.worker",
                    "instructions",
                ]
            )
        )
        between = read_dumps(Path(scratch))
    images = printed["images"]
    if len(between) != 2 * len(images):
        raise RuntimeError(
            f"expected {2 * len(images)} marks, got {len(between)}: something else calls {MARKER}; choose another "
            "marker function"
        )
    counts = {name: round(count / images[name]) for name, count in zip(images, between[1::2], strict=True)}
    return counts, printed["processor"]


def read_dumps(folder: Path) -> list[int]:
    """Read the main thread's instructions between marks: callgrind's files ``counts.1-01``, ``counts.2-01`` and so on.

    Other threads are left out: a library may work in the background (as ONNX Runtime 1.31 does), for no image.
    """
    dumps = sorted(folder.glob("counts.*-01"), key=lambda path: int(path.suffix[1:-3]))
    texts = [path.read_text(errors="replace") for path in dumps]
    return [
        int(re.findall(r"^(?:totals|summary): (\d+)", text, re.MULTILINE)[-1])
        for text in texts
        if f"Trigger: --dump-before={MARKER}" in text
    ]


def _valgrind() -> str:
    if found := shutil.which("valgrind"):
        return found
    raise ValgrindMissing("expected valgrind on this machine, found none; apt-get install valgrind")


def _run(command: list[str]) -> str:
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=ROOT, env={**os.environ, **_SETTLED}
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}: {done.stderr[-2000:]}")
    return done.stdout
