"""The README's commands and code work as described, in a clean copy."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.repository import copy_tracked, readme_command

README = (ROOT / "README.md").read_text()
MEGABYTE = 10**6

#: What a new virtual environment holds before anything is installed.
OF_VENV = {"pip", "setuptools", "pkg_resources", "_distutils_hack", "wheel"}


@pytest.fixture(scope="module")
def copy(tmp_path_factory) -> Path:
    """The files of a clone, and nothing of this environment."""
    clone = tmp_path_factory.mktemp("newcomer") / "cxr-edge"
    copy_tracked(clone)
    return clone


@pytest.mark.installs
@pytest.mark.skipif(os.name == "nt", reason="the command is written for a POSIX shell")
def test_the_first_command(copy, capsys):
    """It installs, finds, draws, and stays small on disk."""
    done = subprocess.run(
        ["bash", "-euc", readme_command("infer")], cwd=copy, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "8 of 8 images read" in done.stdout
    lines = [json.loads(line) for line in (copy / "results" / "predictions.jsonl").read_text().splitlines()]
    assert len(lines) == 8
    assert any(finding["positive"] for line in lines for finding in line["findings"])
    assert len(list((copy / "results" / "heatmaps").glob("*.jpg"))) == 24
    (packages,) = copy.glob(".venv/lib/*/site-packages")
    installed = sum(
        path.lstat().st_size
        for path in packages.rglob("*")
        if path.is_file() and path.relative_to(packages).parts[0].split("-")[0] not in OF_VENV
    )
    with capsys.disabled():
        sys.stdout.write(f"\nbase + cpu: {installed / MEGABYTE:.0f} MB on disk without pip\n")
    assert installed < 400 * MEGABYTE
    assert not any((packages / name).exists() for name in ("tensorflow", "pandas", "sklearn"))


def test_the_test_command_is_this_suite():
    assert readme_command("test").strip().endswith("python -m pytest")


def test_the_python_example(monkeypatch, capsys):
    """It runs as tests/documentation runs every block, and returns what its comments state."""
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    monkeypatch.chdir(ROOT)
    namespace: dict = {}
    exec(code, namespace)
    assert namespace["heatmap"].shape == (1024, 1024)
    assert len(capsys.readouterr().out.splitlines()) == len(namespace["result"].findings)
