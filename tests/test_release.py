"""What is released: one version, files that build alike everywhere, and a wheel that needs no network."""

import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from zipfile import ZipFile

import pytest

import cxr_edge
from tests.conftest import ROOT, SAMPLES
from tests.documentation.blocks import blocks_of
from tests.repository import copy_tracked, readme_command

MEGABYTE = 10**6

#: How a program is run without network.
OFFLINE = ("unshare", "--net") if os.name == "posix" and os.geteuid() == 0 else ("unshare", "--map-root-user", "--net")


def test_one_version():
    done = subprocess.run([sys.executable, "-m", "cxr_edge", "--version"], capture_output=True, text=True, check=True)
    (newest, *_) = re.findall(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.M)
    assert done.stdout == f"cxr-edge {cxr_edge.__version__}\n"
    assert importlib.metadata.version("cxr-edge") == cxr_edge.__version__
    assert newest == cxr_edge.__version__


def test_hooks_before_a_commit_take_the_versions_of_ci():
    hooks = (ROOT / ".pre-commit-config.yaml").read_text()
    pinned = set((ROOT / ".ci" / "constraints.txt").read_text().split())
    named = re.findall(r"\w[\w-]*==[\w.]+", hooks)
    assert named
    assert set(named) <= pinned


def build(clone: Path, *options: str, umask: int = -1) -> None:
    """Build into the clone's dist, with packages from an index."""
    command = [sys.executable, "-m", "build", *options]
    done = subprocess.run(command, cwd=clone, capture_output=True, text=True, check=False, umask=umask)
    assert done.returncode == 0, done.stdout + done.stderr


def only(folder: Path, pattern: str) -> Path:
    (found,) = folder.glob(pattern)
    return found


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """The wheel, as it is built from a clone."""
    clone = tmp_path_factory.mktemp("one") / "cxr-edge"
    copy_tracked(clone)
    build(clone, "--wheel")
    return only(clone / "dist", "*.whl")


@pytest.mark.installs
@pytest.mark.skipif(os.name == "nt", reason="file modes are POSIX")
def test_the_build_is_reproducible(wheel, tmp_path):
    """The second wheel is built from the source distribution, elsewhere, of files that are older and private."""
    clone = tmp_path / "another" / "path"
    copy_tracked(clone)
    for path in clone.rglob("*"):
        path.chmod(0o700 if path.is_dir() else 0o600)
        os.utime(path, (10**9, 10**9))
    build(clone, umask=0o077)
    again = only(clone / "dist", "*.whl")
    ours, theirs = ([str(entry) for entry in ZipFile(path).infolist()] for path in (wheel, again))
    assert ours == theirs
    assert wheel.read_bytes() == again.read_bytes()

    source = only(clone / "dist", "*.tar.gz")
    with tarfile.open(source) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"pyproject.toml", "LICENSE", "NOTICE", "tests/conftest.py", "tests/cxr_edge/cli/test_cli.py"} <= names
    assert {f"samples/{image.name}" for image in SAMPLES} <= names
    assert source.stat().st_size < 40 * MEGABYTE


@pytest.mark.installs
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="network namespaces are Linux's")
def test_a_wheel_runs_offline_from_a_wheelhouse(tmp_path):
    """By the commands of docs/install-offline.md as they stand; then the README's first command."""
    tried = subprocess.run([*OFFLINE, "cat", "/proc/net/dev"], capture_output=True, text=True, check=False)
    if tried.returncode:
        pytest.skip(f"no network namespace can be made here: {tried.stderr.strip()}")
    assert re.findall(r"^ *(\w+):", tried.stdout, re.M) == ["lo"], "there is a network"
    gather, install = (
        block.code for block in blocks_of(ROOT / "docs" / "install-offline.md") if "run by" in block.marks
    )
    copy_tracked(tmp_path / "clone", ("cxr_edge/", "samples/"))
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    run(gather, tmp_path / "clone", {**os.environ, "PATH": path})

    box = tmp_path / "box"
    shutil.copytree(tmp_path / "clone" / "samples", box / "samples")
    shutil.move(tmp_path / "clone" / "wheelhouse", box)
    shutil.rmtree(tmp_path / "clone")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "PYTHON"))}
    environment |= {"PIP_CONFIG_FILE": os.devnull, "PATH": path}
    run(install, box, environment, *OFFLINE)
    first = readme_command("infer")
    infer = re.split(r"&&|\n", first.strip())[-1].strip()
    assert infer.startswith(".venv/bin/cxr-edge infer samples/ "), first
    assert "8 of 8 images read" in run(infer, box, environment, *OFFLINE)
    lines = [json.loads(line) for line in (box / "results" / "predictions.jsonl").read_text().splitlines()]
    assert [line["status"] for line in lines] == ["ok"] * 8
    assert len(list((box / "results" / "heatmaps").glob("*.jpg"))) == 24


def run(command: str, folder: Path, environment: dict[str, str], *within: str) -> str:
    line = [*within, "bash", "-euc", command]
    done = subprocess.run(line, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
