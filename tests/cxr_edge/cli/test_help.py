"""The help of every command is complete at 80 columns, in a pipe and without colour; shell completion works."""

import os
import subprocess
import sys

import pytest

from cxr_edge.backends import DEVICES
from cxr_edge.images.limits import LIMIT_NAMES
from cxr_edge.model.heatmaps import COLORMAPS
from tests.command_line import commands


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "cxr_edge", *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, "COLUMNS": "80", **environment},
        timeout=120,
    )


@pytest.mark.parametrize(
    ("path", "command"), commands().items(), ids=lambda value: " ".join(value) if type(value) is tuple else ""
)
def test_help_is_whole(path, command):
    help_ = run(*path, "--help").stdout
    assert all(len(line) <= 80 for line in help_.splitlines())
    assert "\x1b" not in help_
    for parameter in command.params:
        for option in (*parameter.opts, *parameter.secondary_opts):
            assert parameter.param_type_name == "argument" or option in help_
    for name in getattr(command, "commands", {}):
        assert name in help_


def test_help_names_every_choice():
    help_ = " ".join(run("infer", "--help").stdout.split())
    for choice in (*DEVICES, *COLORMAPS, *LIMIT_NAMES):
        assert choice in help_


@pytest.mark.parametrize("environment", [{"NO_COLOR": "1"}, {"TERM": "dumb"}, {}], ids=str)
def test_no_colour_in_a_pipe(environment, sample):
    done = run("infer", str(sample), "--device", "cpu", "--no-tta", **environment)
    assert done.returncode == 0
    assert "\x1b" not in done.stdout + done.stderr
    assert all(len(line) <= 80 for line in done.stdout.splitlines())


@pytest.mark.parametrize(
    ("words", "completed"),
    [
        ("cxr-edge inf", {"infer"}),
        ("cxr-edge infer --oper", {"--operating-point"}),
        ("cxr-edge infer --device c", {"cpu", "cuda"}),
    ],
)
def test_a_shell_completes(words, completed):
    done = subprocess.run(
        [os.path.join(os.path.dirname(sys.executable), "cxr-edge")],
        capture_output=True,
        text=True,
        env={
            **os.environ,
            "_CXR_EDGE_COMPLETE": "complete_bash",
            "COMP_WORDS": words,
            "COMP_CWORD": str(len(words.split()) - 1),
        },
        timeout=60,
    )
    assert set(done.stdout.split()) == completed, done.stderr


@pytest.mark.parametrize(
    ("options", "missing"),
    [
        (["--dicom-overlays", "2"], "--dicom-out"),
        (["--colormap", "viridis"], "--cam"),
        (["--report"], "--out"),
        (["--cam", "1"], "--out"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_an_option_that_would_be_ignored_is_refused(options, missing, image_path):
    done = run("infer", str(image_path), *options)
    assert done.returncode == 2
    assert options[0] in done.stderr
    assert missing in done.stderr
