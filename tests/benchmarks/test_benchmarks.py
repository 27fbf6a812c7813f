"""The benchmarks run, and say what they measured; their figures are read by people."""

import json
import subprocess
import sys

from benchmarks.measure import interleaved, summary
from tests.conftest import ROOT


def test_interleaving_counts_every_candidate_alike():
    calls = []
    seconds = interleaved({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, rounds=4, warm_up=1)
    assert {name: len(times) for name, times in seconds.items()} == {"a": 4, "b": 4}
    assert "".join(calls) == "abbaabbaab"


def test_a_ratio_is_the_median_over_rounds():
    figures = summary({"base": [1.0, 2.0, 4.0], "other": [2.0, 2.0, 12.0]}, baseline="base")
    assert figures["n"] == 3
    assert figures["other"] == {"median_ms": 2000.0, "ratio": 2.0}


def test_the_command_runs_and_says_what_it_measured(tmp_path):
    out = tmp_path / "figures.json"
    command = [sys.executable, "-m", "benchmarks", "--rounds", "1", "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    figures = json.loads(out.read_text())
    assert figures["machine"]["packages"]["onnxruntime"]
    assert figures["heatmaps"]["one view"]["inference and 15 maps"]["ratio"] > 0
    assert figures["process"]["import tensorflow"]["median_ms"] > 0
    assert figures["import, load, first predict"]["TensorFlow"]["ratio"] > 0


def test_a_folder_without_films_is_refused(tmp_path):
    command = [sys.executable, "-m", "benchmarks", "--films", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 2
