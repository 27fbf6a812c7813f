"""A model that was loaded before a fork: in the child it answers as in the parent, and the child ends."""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from benchmarks.dicom import dicom_files
from benchmarks.dicom.dicom_files import JPEG_2000, image, written
from cxr_edge import images

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform does not fork"),
]

#: A child that hangs is killed, after a time in which no machine would still be at work.
PATIENCE = 120

START = """
import os, sys, time, warnings
import cxr_edge
warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 warns of forks beside threads, as this one is
model = cxr_edge.load(device=sys.argv[3], threads=2, spinning=False)
def answer():
    try:
        return model.predict(sys.argv[1], tta=False, heatmaps=True).probabilities
    except cxr_edge.CxrEdgeError as error:
        return error.code
def say(what):
    os.write(1, f"{what}\\n".encode())  # in one call, for several processes write
expected = answer() if "warm" in sys.argv[2] else None
"""

FORK = (
    START
    + """
children = []
for _ in range(2):
    if not (child := os.fork()):
        say(answer() if sys.argv[2] != "idle" else "idle")
        sys.exit(0)
    children.append(child)
if "both" in sys.argv[2]:
    say(answer())
say({os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children})
say(answer())
"""
)

POOL = (
    START
    + """
import multiprocessing
if __name__ == "__main__":
    with multiprocessing.get_context("fork").Pool(2) as pool:
        for found in pool.starmap(answer, [()] * 4):
            say(found)
        pool.close()
        pool.join()
    say({0})
    say(answer())
"""
)


@pytest.fixture(scope="module")
def compressed(image_path: Path, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("fork") / "image.dcm"
    path.write_bytes(written(dicom_files.compressed(image(images.read_image(image_path).pixels), JPEG_2000)))
    return path


def lines_of(script: str, *arguments: str | Path) -> list[str]:
    command = [sys.executable, "-c", script, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=True)
    assert not done.stderr
    return done.stdout.splitlines()


@pytest.mark.parametrize(
    ("script", "state", "kind"),
    [
        (FORK, "cold", "png"),
        (FORK, "cold, both", "compressed DICOM"),
        (FORK, "warm, both", "compressed DICOM"),
        (POOL, "cold", "compressed DICOM"),
        (POOL, "warm", "png"),
    ],
    ids=["fork, cold", "fork, cold, both", "fork, warm", "pool, cold", "pool, warm"],
)
def test_a_fork_answers_as_its_parent_does_and_ends(script, state, kind, image_path, compressed):
    source = image_path if kind == "png" else compressed
    *of_children, status, of_parent = lines_of(script, source, state, "cpu")
    assert status == "{0}"
    assert of_parent.startswith("{'")
    assert set(of_children) == {of_parent}


def test_a_fork_that_predicts_nothing_ends(image_path):
    assert lines_of(FORK, image_path, "idle", "cpu")[:3] == ["idle", "idle", "{0}"]


@pytest.mark.parametrize("state", ["warm", "idle"])
@pytest.mark.skipif(find_spec("openvino") is None, reason="needs the package openvino")
def test_a_device_that_a_fork_cannot_use_is_told(image_path, state):
    *of_children, status, of_parent = lines_of(FORK, image_path, state, "openvino")
    assert status == "{0}"
    assert set(of_children) == {"idle" if state == "idle" else "forked_model"}
    assert of_parent.startswith("{'")


def test_a_bundle_that_changed_since_is_not_used(image_path, tmp_path):
    script = START.replace("cxr_edge.load(", "cxr_edge.load(sys.argv[4], ") + FORK.removeprefix(START).replace(
        "children = []", "children = []; open(f'{sys.argv[4]}/model.onnx', 'ab').write(b'x')"
    )
    bundle = tmp_path / "bundle"
    subprocess.run(["cp", "-r", Path(images.__file__).parents[1] / "bundles" / "default", bundle], check=True)
    assert lines_of(script, image_path, "cold", "cpu", bundle)[:3] == ["bundle_damaged", "bundle_damaged", "{0}"]


def test_a_fork_of_a_fork(image_path):
    script = FORK.replace(
        'say(answer() if sys.argv[2] != "idle" else "idle")',
        "first = answer(); child = os.fork(); say(answer() == first); child and os.waitpid(child, 0)",
    )
    assert lines_of(script, image_path, "warm", "cpu")[:5] == ["True"] * 4 + ["{0}"]


@pytest.mark.parametrize("kind", ["png", "compressed DICOM"])
def test_a_fork_while_another_thread_predicts(kind, image_path, compressed):
    """Locks that the other thread holds are never freed in the child."""
    script = FORK.replace(
        "children = []",
        "import threading\nstop = threading.Event()\n"
        "def busy():\n    while not stop.is_set():\n        answer()\n"
        "threading.Thread(target=busy).start(); time.sleep(0.2)\nchildren = []",
    ).replace("say({os", "stop.set()\nsay({os")
    source = image_path if kind == "png" else compressed
    *of_children, status, of_parent = lines_of(script, source, "warm", "cpu")
    assert status == "{0}"
    assert set(of_children) == {of_parent}
