"""Cold start against TensorFlow: a process from its start, and import + load + first predict in one."""

import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.measure import interleaved, summary

KERAS_MODEL = Path(__file__).parent.parent / "training" / "models" / "nih14-efficientnetb0" / "model.keras"

_SDK = """
import sys, time
start = time.perf_counter()
import cxr_edge
cxr_edge.load().predict(sys.argv[1], tta=False)
print(time.perf_counter() - start)
"""

_TENSORFLOW = """
import sys, time
start = time.perf_counter()
import cv2, keras, numpy
network = keras.models.load_model(sys.argv[2], compile=False)
film = cv2.resize(cv2.imread(sys.argv[1], cv2.IMREAD_GRAYSCALE), (224, 224), interpolation=cv2.INTER_AREA)
network(film[numpy.newaxis, ..., numpy.newaxis].astype("float32"), training=False).numpy()
print(time.perf_counter() - start)
"""


def measure_processes(film: Path, rounds: int) -> dict[str, Any]:
    """Compare `cxr-edge infer` of one film, as a process, with a process that imports TensorFlow."""
    infer = [sys.executable, "-m", "cxr_edge", "infer", str(film), "--no-tta"]
    candidates = {
        "cxr-edge infer one.png --no-tta": lambda: _run(infer),
        "import tensorflow": lambda: _run([sys.executable, "-c", "import tensorflow"]),
    }
    return summary(interleaved(candidates, rounds), baseline="cxr-edge infer one.png --no-tta")


def measure_in_process(film: Path, rounds: int) -> dict[str, Any]:
    """Compare import + load + first predict, timed inside a fresh process each."""
    scripts = {"cxr-edge": _SDK, "TensorFlow": _TENSORFLOW}
    seconds: dict[str, list[float]] = {name: [] for name in scripts}
    for number in range(-1, rounds):
        for name, script in scripts.items():
            told = _run([sys.executable, "-c", script, str(film), str(KERAS_MODEL)])
            if number >= 0:
                seconds[name].append(float(told))
    return summary(seconds, baseline="cxr-edge")


def _run(command: list[str]) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout
