"""The oldest versions of the dependencies that pyproject.toml allows are installed together, and work."""

import os
import re
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from tests.conftest import ROOT

pytestmark = [pytest.mark.installs, pytest.mark.slow]

EXTRAS = ("cpu", "node", "openvino", "demo")
#: A part of the tests that uses every dependency, in one or two minutes.
TESTS = (
    "tests/cxr_edge/backends/test_openvino.py",
    "tests/cxr_edge/cli/test_cli.py::test_a_run_keeps_the_contract",
    "tests/cxr_edge/cli/test_cli.py::test_what_is_plainly_no_image_is_skipped_in_a_directory_and_counted",
    "tests/cxr_edge/cli/test_help.py::test_help_names_every_choice",
    "tests/cxr_edge/images/dicom/test_kinds.py",
    "tests/cxr_edge/images/dicom/test_read.py",
    "tests/cxr_edge/images/test_jpeg.py",
    "tests/cxr_edge/images/test_png.py",
    "tests/cxr_edge/node/test_config.py",
    "tests/cxr_edge/node/test_loop.py::test_a_result_is_not_an_image",
    "tests/cxr_edge/outputs/html/test_page.py",
    "tests/cxr_edge/outputs/test_csv.py",
    "tests/cxr_edge/outputs/test_overlays.py",
    "tests/cxr_edge/runs/test_directory.py",
)
#: The oldest imagecodecs decodes High-Throughput JPEG 2000, and does not encode it, which these tests do first.
NOT_ENCODED = "not 1.2.840.10008.1.2.4.20"
#: The demo's page is built; a browser is not needed for that.
DEMO = "from cxr_edge.demo import demo; demo()"


def uv(*arguments: object, **environment: str) -> None:
    from uv import find_uv_bin

    index = {"UV_DEFAULT_INDEX": os.environ["PIP_INDEX_URL"]} if "PIP_INDEX_URL" in os.environ else {}
    command = [find_uv_bin(), *map(str, arguments)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, **index, **environment}
    )
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with the oldest versions of what the package needs, and the newest of all else."""
    root = tmp_path_factory.mktemp("oldest")
    extras = [part for extra in EXTRAS for part in ("--extra", extra)]
    pyproject, oldest = ROOT / "pyproject.toml", root / "oldest.txt"
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    uv("pip", "compile", "--resolution", "lowest-direct", "--python-version", version, *extras, pyproject, "-o", oldest)
    uv("venv", "--python", sys.executable, root / "venv")
    uv("pip", "install", "--constraint", oldest, "--editable", f"{ROOT}[{','.join(EXTRAS)}]", "--group",
       f"{pyproject}:test", VIRTUAL_ENV=str(root / "venv"))  # fmt: skip
    folder = "Scripts" if os.name == "nt" else "bin"
    return root / "venv" / folder / "python"


def run(python: Path, *arguments: str) -> str:
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "CXR_EDGE_TESTS"))
    }
    done = subprocess.run([python, *arguments], cwd=ROOT, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def lowest_bounds() -> dict[str, str]:
    """Return the package → lower bound of what is installed here by the extras."""
    project = msgspec.toml.decode((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    requirements = [*project["dependencies"], *(each for extra in (*EXTRAS, "dicom") for each in extras[extra])]
    stated = [re.match(r"([\w-]+)>=([\d.]+)", requirement) for requirement in requirements if ";" not in requirement]
    return {found[1]: found[2] for found in stated if found}


def test_the_oldest_versions_are_those_that_are_stated(python):
    bounds = lowest_bounds()
    assert len(bounds) > 18
    script = "import importlib.metadata as m, sys; print(*(m.version(name) for name in sys.argv[1:]))"
    installed = dict(zip(bounds, run(python, "-c", script, *bounds).split(), strict=True))
    for name, bound in bounds.items():
        parts = bound.split(".")
        assert installed[name].split(".")[: len(parts)] == parts, f"{name}: {installed[name]}, not {bound}"


def test_the_oldest_versions_work(python):
    # Old ones may use what newer ones of their own dependencies deprecate.
    options = ["-q", "-W", "ignore::DeprecationWarning", "-p", "no:cacheprovider", "-k", NOT_ENCODED]
    printed = run(python, "-m", "pytest", *options, *TESTS)
    assert re.search(r"\d+ passed", printed)
    run(python, "-W", "ignore::DeprecationWarning", "-c", DEMO)
