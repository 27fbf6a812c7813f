"""Every command with standard streams that are closed or cannot be written: one clean outcome."""

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.conftest import SAMPLES

pytestmark = [pytest.mark.slow, pytest.mark.skipif(os.name == "nt", reason="needs a POSIX shell")]

INFER = ("infer", str(SAMPLES[0]), "--no-tta", "--device", "cpu")

#: Commands, each with the text that it prints to standard output.
PRINTING = {
    ("--version",): "cxr-edge ",
    ("--help",): "Usage",
    INFER: "1 of 1 images read",
    (*INFER, "--json"): '"status":"ok"',
    ("doctor", "--device", "cpu"): "Machine",
    ("engine", "list", "--json"): "[",
}


def run(arguments: Sequence[str | Path], redirect: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = shlex.join([sys.executable, "-m", "cxr_edge", *map(str, arguments)])
    done = subprocess.run(
        ["sh", "-c", f"exec {command} {redirect}"],
        env={**os.environ, "CXR_EDGE_CACHE": "/dev/null/cache", **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Traceback" not in done.stdout + done.stderr
    assert "Exception ignored" not in done.stderr
    return done


@pytest.mark.parametrize(
    ("redirect", "unbuffered"),
    [(">&-", ""), ("2>&-", ""), ("<&-", ""), (">&- 2>&- <&-", ""), (">&- 2>&- <&-", "1"), ("2>/dev/full", "1")],
)
def test_results_are_written_whatever_is_closed(redirect, unbuffered, tmp_path):
    out = tmp_path / "out"
    done = run([*INFER, "--out", out, "--json"], redirect, PYTHONUNBUFFERED=unbuffered)
    assert done.returncode == 0
    written = (out / "predictions.jsonl").read_text()
    assert [json.loads(line)["status"] for line in written.splitlines()] == ["ok"]
    assert done.stdout == ("" if ">&-" in redirect.replace("2>&-", "") else written)


@pytest.mark.parametrize("redirect", [">&-", ">&- 2>&- <&-"])
def test_results_that_nobody_would_get_are_not_computed(redirect):
    done = run([*INFER, "--json"], redirect)
    assert done.returncode == 2
    assert "2>" in redirect or "standard output is closed, and nothing else holds the results" in done.stderr


@pytest.mark.parametrize("arguments", PRINTING, ids=" ".join)
def test_without_standard_error_and_input_a_command_prints(arguments):
    done = run(arguments, "2>&- <&-")
    if arguments[0] == "engine":  # its cache is no folder
        assert (done.returncode, done.stdout) == (3, "")
    else:
        assert done.returncode == 0
        assert PRINTING[arguments] in done.stdout


@pytest.mark.parametrize("arguments", [("--version",), ("doctor", "--device", "cpu")], ids=" ".join)
def test_what_is_printed_to_a_closed_stream_is_lost_with_a_word(arguments):
    done = run(arguments, ">&-")
    assert done.returncode == 0
    assert done.stderr.startswith("cxr-edge: warning: standard output is closed; what is printed there is lost\n")


@pytest.mark.parametrize("arguments", [words for words in PRINTING if words[0] != "engine"], ids=" ".join)
def test_an_output_that_cannot_be_written_is_told_in_one_line(arguments):
    done = run(arguments, ">/dev/full")
    assert done.returncode == 2
    *_, line = done.stderr.splitlines()
    assert line.startswith("cxr-edge: output_unwritable: standard output cannot be written (No space left on device)")


def test_nothing_can_be_written_at_all():
    assert run(["--version"], ">/dev/full 2>/dev/full").returncode == 2


def test_no_file_takes_the_place_of_a_closed_stream(tmp_path):
    """What libraries print to standard error would get into it."""
    script = (
        "import os, sys\nfrom cxr_edge.cli import app\n"
        "try:\n    app(['--version'])\nexcept SystemExit:\n    pass\n"
        f"taken = os.open({str(tmp_path / 'file')!r}, os.O_WRONLY | os.O_CREAT)\n"
        "os.write(2, b'printed by a library')\nos.write(1, b'and by another')\nsys.exit(taken < 3)\n"
    )
    command = shlex.join([sys.executable, "-c", script])
    done = subprocess.run(["sh", "-c", f"exec {command} >&- 2>&- <&-"], check=False)
    assert done.returncode == 0
    assert (tmp_path / "file").read_bytes() == b""


def test_a_reader_that_leaves_early_ends_a_command_quietly():
    command = shlex.join([sys.executable, "-m", "cxr_edge", "doctor", "--device", "cpu"])
    done = subprocess.run(["bash", "-c", f"{command} | true; exit ${{PIPESTATUS[0]}}"], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr == ""
