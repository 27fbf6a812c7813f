"""The README's commands and code do what it says, in a clean copy."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

README = (ROOT / "README.md").read_text()
MEGABYTE = 10**6

#: What a new virtual environment holds before anything is installed.
OF_VENV = {"pip", "setuptools", "pkg_resources", "_distutils_hack", "wheel"}


def command(name: str) -> str:
    script = ROOT / ".ci" / "readme_command.py"
    return subprocess.run([sys.executable, script, name], capture_output=True, text=True, check=True).stdout


@pytest.fixture(scope="module")
def copy(tmp_path_factory) -> Path:
    """What a clone would hold, and nothing of this environment."""
    files = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    clone = tmp_path_factory.mktemp("newcomer") / "cxr-edge"
    for name in files.rstrip("\0").split("\0"):
        (clone / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, clone / name)
    return clone


@pytest.mark.installs
@pytest.mark.skipif(os.name == "nt", reason="the command is written for a POSIX shell")
def test_the_first_command(copy, capsys):
    """It installs, finds, draws, and stays small on disk."""
    done = subprocess.run(["bash", "-euc", command("infer")], cwd=copy, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "8 of 8 films read" in done.stdout
    lines = [json.loads(line) for line in (copy / "results" / "predictions.jsonl").read_text().splitlines()]
    assert len(lines) == 8
    assert any(finding["positive"] for line in lines for finding in line["findings"])
    assert len(list((copy / "results" / "heatmaps").glob("*.png"))) == 24
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
    assert command("test").strip().endswith("python -m pytest")


def test_the_python_examples(monkeypatch, capsys):
    first, *others = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    monkeypatch.chdir(ROOT)
    for code in others:
        if "launch()" not in code:  # a server: tests/cxr_edge/demo starts it
            exec(code, {})
    namespace: dict = {}
    exec(first, namespace)
    assert namespace["heatmap"].shape == (1024, 1024)
    assert len(capsys.readouterr().out.splitlines()) == len(namespace["result"].findings)


def test_every_error_code_is_documented():
    from cxr_edge import errors

    codes = {cls.code for cls in vars(errors).values() if isinstance(cls, type) and issubclass(cls, errors.InputError)}
    missing = {code for code in codes - {"input_error"} if f"`{code}`" not in README}
    assert not missing


def test_every_file_the_readme_names_is_there():
    for target in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (ROOT / target).exists(), target
    for path in re.findall(r"`((?:training|benchmarks|cxr_edge|export|tests)/[\w./-]*)`", README):
        assert (ROOT / path).exists(), path
