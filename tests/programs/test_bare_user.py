"""Every command as a user without a home, without an account and without a temporary folder."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.dicom import dicom_files
from benchmarks.dicom.dicom_files import JPEG_2000, image, written
from cxr_edge import images
from tests.conftest import ROOT, SAMPLES, free_port

#: Not root's rights but one: to read, for the tests and their Python may lie where only root can.
NOBODY = [
    "setpriv", "--reuid=54321", "--regid=54321", "--clear-groups",
    *(f"--{kind}-caps=-all,+dac_read_search" for kind in ("inh", "ambient")), "--bounding-set=-all,+dac_read_search",
]  # fmt: skip

#: No place that Python takes for temporary files can be written.
NO_TEMPORARY = [
    "unshare", "--mount", "sh", "-c",
    'for place in /tmp /var/tmp; do mount --bind $place $place && mount -o remount,bind,ro $place; done; exec "$@"',
    "sh",
]  # fmt: skip


def cannot_be_tried() -> str:
    """Return why these tests cannot be run here; empty if they can."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "needs Linux, and root to become another user"
    tried = subprocess.run([*NO_TEMPORARY, *NOBODY, "sh", "-c", "! touch /tmp/x"], capture_output=True, text=True)
    return f"needs a mount namespace: {tried.stderr}" if tried.returncode else ""


WHY_NOT = cannot_be_tried()
pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT)]

NO_HOME = "expected a folder for engines in the home of this user, who has none"


@pytest.fixture(scope="module")
def compressed(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("bare") / "image.dcm"
    path.write_bytes(written(dicom_files.compressed(image(images.read_image(SAMPLES[0]).pixels), JPEG_2000)))
    return path


def run(*arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [*NO_TEMPORARY, *NOBODY, sys.executable, "-m", "cxr_edge", *map(str, arguments)]
    bare = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "COLUMNS": "200", **environment}
    done = subprocess.run(command, env=bare, cwd="/", capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stdout + done.stderr
    return done


@pytest.mark.parametrize(
    ("home", "arguments"),
    [
        (None, ["--version"]),
        (None, ["infer", SAMPLES[0], "compressed", "--no-tta", "--device", "cpu"]),
        (None, ["bench", "--seconds", "0.1", "--device", "cpu", SAMPLES[0]]),
        (None, ["doctor", "--device", "cpu"]),
        ("/nonexistent", ["doctor", "--device", "cpu"]),
    ],
    ids=["version", "infer", "bench", "doctor", "doctor, home missing"],
)
def test_what_needs_no_home_works(home, arguments, compressed):
    environment = {} if home is None else {"HOME": home}
    done = run(*(compressed if word == "compressed" else word for word in arguments), **environment)
    assert done.returncode == 0, done.stderr
    if arguments[0] == "doctor" and home is None:
        assert NO_HOME in done.stdout


@pytest.mark.parametrize("home", [None, "/", "/nonexistent"])
def test_the_cache_is_refused_in_one_line_that_names_the_remedy(home):
    done = run("engine", "list", **({} if home is None else {"HOME": home}))
    assert done.returncode == 3
    (line,) = done.stderr.splitlines()
    assert line.startswith("cxr-edge: cache_unusable: ")
    assert (NO_HOME if home is None else "Permission denied") in line
    assert "CXR_EDGE_CACHE" in line


def test_a_cache_in_the_home_of_nobody_is_refused():
    done = run("engine", "list", CXR_EDGE_CACHE="~nobody-of-that-name/cache")
    assert done.returncode == 3
    assert NO_HOME in done.stderr


@pytest.mark.node
def test_the_node_prints_what_it_prints():
    for command in ("example", "conformance"):
        assert run("node", command).returncode == 0


@pytest.mark.browser
def test_the_demo_names_the_folder_that_it_lacks():
    done = run("demo", "--device", "cpu", "--port", str(free_port()))
    assert done.returncode == 2
    *_, line = done.stderr.splitlines()
    assert line.startswith("cxr-edge: demo_unavailable: the demo needs a temporary folder for uploads")
    assert "set TMPDIR" in line


def test_results_go_where_this_user_may_write(tmp_path):
    place = Path("/dev/shm") / f"cxr-edge-{os.getpid()}"
    place.mkdir()
    try:
        place.chmod(0o777)
        done = run("infer", SAMPLES[0], "--device", "cpu", "--no-tta", "--cam", "1", "--report", "--out", place / "out")
        assert done.returncode == 0, done.stderr
        assert (place / "out" / "report.html").exists()
    finally:
        subprocess.run(["rm", "-r", place], check=True)
