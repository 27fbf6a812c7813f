"""A run that is killed at any moment and started again ends as if it had never been interrupted."""

import json
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import SAMPLES

KILLS = 20


def command(images: Path, out: Path) -> list[str]:
    return [
        sys.executable,
        "-m",
        "cxr_edge",
        "infer",
        str(images),
        "--no-tta",
        "--cam",
        "1",
        "--out",
        str(out),
        "--json",
    ]


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make 40 images, three of them broken."""
    root = tmp_path_factory.mktemp("images")
    for number in range(40):
        shutil.copy(SAMPLES[number % len(SAMPLES)], root / f"{number:02}.png")
    for number in (3, 17, 30):
        (root / f"{number:02}.png").write_bytes(b"broken")
    return root


@pytest.fixture(scope="module")
def unbroken(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("unbroken") / "out"
    assert subprocess.run(command(images, out), capture_output=True, check=False).returncode == 1
    return out


def assert_same_results(out: Path, reference: Path) -> None:
    for name in ("predictions.jsonl", "predictions.csv"):
        assert (out / name).read_bytes() == (reference / name).read_bytes()
    overlays, expected = ({p.name: p.read_bytes() for p in (d / "heatmaps").iterdir()} for d in (out, reference))
    assert overlays == expected


def finished_overlays(out: Path) -> dict[str, int]:
    """Return the overlays of the images whose lines are complete, with the time they were written."""
    log = out / "predictions.jsonl"
    whole = log.read_bytes().rpartition(b"\n")[0] if log.exists() else b""
    names = [
        f["overlay_file"]
        for text in whole.splitlines()
        for f in json.loads(text).get("findings", [])
        if f["overlay_file"]
    ]
    return {name: (out / name).stat().st_mtime_ns for name in names}


@pytest.mark.slow
def test_killed_at_20_random_moments(images, unbroken, tmp_path):
    """Killed during start-up, or some images later, anywhere in the next one: however fast the machine is."""
    moments = random.Random(20)
    out = tmp_path / "out"
    before: dict[str, int] = {}
    progress = []
    for _ in range(KILLS):
        process = subprocess.Popen(command(images, out), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wanted = len(before) + moments.randrange(6)
        while process.poll() is None and len(finished_overlays(out)) < wanted:
            time.sleep(0.002)
        time.sleep(moments.uniform(0, 0.2))
        process.kill()
        process.wait()
        after = finished_overlays(out)
        assert {name: after[name] for name in before} == before, "an image was computed twice, or lost"
        before = after
        progress.append(len(after))
    assert subprocess.run(command(images, out), capture_output=True, check=False).returncode == 1
    assert {name: finished_overlays(out)[name] for name in before} == before, "an image was computed twice"
    assert_same_results(out, unbroken)
    assert len(set(progress)) > 3, "the kills came too early or too late to interrupt anything"


@pytest.mark.parametrize("seed", range(10))
def test_killed_in_the_middle_of_a_write(images, unbroken, tmp_path, seed):
    """Whatever part of the file a write left behind, the rest is computed, and nothing is computed twice."""
    out = tmp_path / "out"
    shutil.copytree(unbroken, out)
    log = out / "predictions.jsonl"
    content = log.read_bytes()
    log.write_bytes(content[: random.Random(seed).randrange(len(content))])
    (out / "predictions.csv").unlink()
    done = subprocess.run(command(images, out), capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert len(done.stdout.splitlines()) == 40
    assert_same_results(out, unbroken)
