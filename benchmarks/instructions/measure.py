"""Counting: a process under valgrind's callgrind, and one without, each on one thread.

Valgrind shows every program the same CPU, as far as the host has its features: Intel's Haswell, with AVX2 and FMA
and without AVX-512. So ONNX Runtime, NumPy and OpenCV take their AVX2 kernels, on any such host the same.
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

#: Hashing varies from process to process otherwise; a test run reports nothing to ONNX Runtime's makers.
_SETTLED: Final = {
    "PYTHONHASHSEED": "0",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "ORT_DISABLE_TELEMETRY": "1",
}

Counts = dict[str, dict[str, int]]


class ValgrindMissing(RuntimeError):
    """There is no valgrind on this machine."""


def identity() -> dict[str, str]:
    """Tell what the counts hold for, but for the processor, which only a process under valgrind sees.

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
        What they hold for.

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
        told: dict[str, Any] = json.loads(
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
    images = told["images"]
    if len(between) != 2 * len(images):
        raise RuntimeError(
            f"expected {2 * len(images)} marks, got {len(between)}: something else calls {MARKER}; choose another"
        )
    counts = {name: round(count / images[name]) for name, count in zip(images, between[1::2], strict=True)}
    return counts, told["processor"]


def read_dumps(folder: Path) -> list[int]:
    """Read the main thread's instructions between marks: callgrind's files ``counts.1-01``, ``counts.2-01`` and so on.

    What a library does in a thread of its own at a time of its own (ONNX Runtime 1.31 does) is no image's work.
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
