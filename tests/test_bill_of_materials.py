"""The bill of materials: a package is refused whose licence nobody allowed."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

GNU = "\n                    GNU GENERAL PUBLIC LICENSE\n                       Version 3, 29 June 2007\n"

#: Name, lines of its METADATA, its licence's text; and what is told, nothing where it is allowed.
PACKAGES = [
    ("plain", "License-Expression: MIT", "", ""),
    ("either", "License-Expression: Apache-2.0 OR GPL-3.0-only", "", ""),
    ("classified", "Classifier: License :: OSI Approved :: Apache Software License", "", ""),
    ("copyleft", "License-Expression: GPL-3.0-only", "", "is under GPL-3.0-only, which is not allowed"),
    ("both", "License-Expression: MIT AND AGPL-3.0-only", "", "which is not allowed"),
    ("silent", "Summary: says nothing", "", "declares no licence"),
    ("vague", "Classifier: License :: OSI Approved :: BSD License", "", "which is no SPDX expression"),
    ("own", "License: our own terms", "", "declares no licence"),
    ("carrier", "License-Expression: MIT", GNU, "holds a text of the GNU licences"),
    ("jinja2", "License-Expression: GPL-2.0-only", "", "look again"),
]  # fmt: skip


@pytest.fixture(scope="module")
def python(tmp_path_factory) -> Path:
    """An environment with packages of these metadata."""
    root = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", root], check=True)
    python = next(path for path in (root / "bin" / "python", root / "Scripts" / "python.exe") if path.exists())
    told = [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    packages = Path(subprocess.run(told, capture_output=True, text=True, check=True).stdout.strip())
    for name, lines, text, _ in PACKAGES:
        folder = packages / f"{name}-1.0.dist-info"
        folder.mkdir()
        version = "2.4" if "License-Expression" in lines else "2.1"
        (folder / "METADATA").write_text(f"Metadata-Version: {version}\nName: {name}\nVersion: 1.0\n{lines}\n")
        (folder / "LICENSE").write_text(text)
        (folder / "RECORD").write_text(f"{folder.name}/METADATA,,\n{folder.name}/LICENSE,,\n")
    return python


def test_licences_that_nobody_allowed(python, tmp_path):
    script = ROOT / ".ci" / "bill_of_materials.py"
    done = subprocess.run([sys.executable, script, python, tmp_path / "bill.json"], capture_output=True, text=True)
    assert done.returncode == 1
    assert not (tmp_path / "bill.json").exists()
    told = {line.split()[0]: line for line in done.stderr.splitlines()[:-1]}
    refused = {name: text for name, *_, text in PACKAGES if text}
    assert told.keys() == refused.keys()
    for name, text in refused.items():
        assert text in told[name]
