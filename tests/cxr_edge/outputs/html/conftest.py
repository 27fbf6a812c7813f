"""A report of real images, one of them with a hostile name, and of inputs that fail."""

import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cxr_edge.cli import app
from tests.conftest import SAMPLES

HOSTILE = "<img src=x onerror=document.title='run'>'\"&{{7*7}}.png"


def infer(*arguments: object, status: int = 0) -> str:
    done = CliRunner().invoke(app, ["infer", *map(str, arguments)])
    assert done.exit_code == status, done.output
    return done.output


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    for sample in SAMPLES[:3]:
        shutil.copy(sample, folder)
    shutil.copy(SAMPLES[3], folder / HOSTILE)
    (folder / "letter.png").write_text("no image")
    return folder


@pytest.fixture(scope="module")
def report(images, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("out")
    printed = infer(images, "--report", "--out", out, "--device", "cpu", status=1)
    assert str(out / "report.html") in printed.replace("\n", "")
    return out / "report.html"


@pytest.fixture
def new_page(browser):
    from tests.browser import pages_without_errors

    with pages_without_errors(browser) as make:
        yield make
