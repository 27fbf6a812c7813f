"""The script that measures the packages counts what there is, and holds the rooms to their order."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

SOUND = {
    "__init__": "from cxr_edge.model.load import load",
    "__main__": "from cxr_edge.cli.app import main",
    "_version": "__version__ = '1'",
    "errors": "from . import _version",
    "support/text": "from cxr_edge.errors import Fault",
    "images/png": "import cxr_edge.support.text\nimport numpy",
    "model/load": (
        "from typing import TYPE_CHECKING\n"
        "if TYPE_CHECKING:\n    from ..images.png import Png\n"
        "def load(self, a, b, c, d, e, *f):\n    '''Load.'''\n    from cxr_edge.support import text\n    return text\n"
    ),
    "cli/app": "import cxr_edge\nfrom cxr_edge.model import load",
}


@pytest.fixture
def house(tmp_path: Path):
    (tmp_path / ".ci").mkdir()
    shutil.copy(ROOT / ".ci" / "house.py", tmp_path / ".ci")
    for package in ("training", "export", "benchmarks"):
        write(tmp_path, package, {"one": "def one(a, /, *, b, **c):\n    return 1\n"})

    def measure(modules: dict[str, str], *options: str) -> subprocess.CompletedProcess[str]:
        write(tmp_path, "cxr_edge", SOUND | modules)
        command = [sys.executable, tmp_path / ".ci" / "house.py", *options]
        return subprocess.run(command, capture_output=True, text=True)

    return measure


def write(root: Path, package: str, modules: dict[str, str]) -> None:
    for name, source in modules.items():
        path = root / package / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source + "\n")


def test_it_counts(house):
    done = house({}, "--json", "--check")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["rooms"] == 5
    assert found["modules by room"] == {"(door)": 2, "errors": 2, "support": 1, "images": 1, "model": 1, "cli": 1}
    assert found["every arrow"] == {
        "cli → (door)": {"when loaded": 1},
        "cli → model": {"when loaded": 1},
        "images → support": {"when loaded": 1},
        "model → images": {"for types": 1},
        "model → support": {"lazy": 1},
        "support → errors": {"when loaded": 1},
    }
    assert found["arrows"] == 5
    assert found["arrows, by kind"]["lazy alone"] == found["arrows, by kind"]["for types alone"] == 1
    loaded = found["packages"]["cxr_edge"]
    assert (loaded["functions"], loaded["functions with more than 5 parameters"]) == (1, 1)
    assert loaded["lines of a function's body"]["max"] == 2
    assert found["packages"]["training"]["functions with more than 5 parameters"] == 0


@pytest.mark.parametrize(
    ("module", "source", "fault"),
    [
        ("images/up", "def late():\n    from cxr_edge.model import load\n", "arrows up, cycles"),
        ("images/over", "from cxr_edge.backends import base", ""),
        ("backends/types", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import cxr_edge.runs.batch", "up"),
        ("images/door", "from cxr_edge import load", "arrows up"),
        ("attic/old", "", "rooms without a place"),
        ("lost", "", "rooms without a place"),
        ("outputs/named", "import importlib\nimportlib.import_module('cxr_edge.runs.batch')", "arrows up"),
    ],
)
def test_what_breaks_the_order_is_found(house, module, source, fault):
    done = house({"backends/base": "", "runs/batch": "", module: source}, "--check")
    assert done.returncode == (1 if fault else 0), done.stdout
    assert fault in done.stderr
