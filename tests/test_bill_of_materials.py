"""The bill of materials: a package whose licence is not allowed is refused."""

import subprocess
import sys
from importlib.metadata import files
from pathlib import Path

import pytest

from tests.conftest import ROOT

AGPL = "\n                    GNU AFFERO GENERAL PUBLIC LICENSE\n                       Version 3, 19 November 2007\n"
PYTHON = next(file for file in files("typing_extensions") or [] if file.name == "LICENSE").read_text()

#: Name, lines of its METADATA, and the message; empty where it is allowed.
PACKAGES = [
    ("plain", "License-Expression: MIT", ""),
    ("either", "License-Expression: Apache-2.0 OR GPL-3.0-only", ""),
    ("classified", "Classifier: License :: OSI Approved :: Apache Software License", ""),
    ("copyleft", "License-Expression: GPL-3.0-only", "is under GPL-3.0-only, which is not allowed"),
    ("both", "License-Expression: MIT AND AGPL-3.0-only", "which is not allowed"),
    ("silent", "Summary: without a licence", "declares no licence"),
    ("vague", "Classifier: License :: OSI Approved :: BSD License", "which is no SPDX expression"),
    ("own", "License: our own terms", "declares no licence"),
    ("jinja2", "License-Expression: GPL-2.0-only", "look again"),
]  # fmt: skip

#: Name of a package that declares MIT, a file in its dist-info or beside it, its text, and the message.
TEXTS = [
    ("heading", "{}/LICENSE", AGPL, "names a GNU licence"),
    ("small", "{}/LICENSE", AGPL.replace("GNU AFFERO", "Gnu Affero"), "names a GNU licence"),
    ("sentence", "{}/LICENSE.rst", "Licensed under the terms of the GNU Affero General Public License", "names a GNU"),
    ("broken", "{}/LICENSE", "You may use it under the\n# GNU General\n# Public Licence, version 2\n", "names a GNU"),
    ("short", "{}/NOTICE", "(c) its authors, AGPLv3", "names a GNU licence"),
    ("lesser", "{}/COPYING.LESSER", AGPL, "COPYING.LESSER names a GNU licence"),
    ("suffix", "{}/LICENSE.AGPL", AGPL, "LICENSE.AGPL names a GNU licence"),
    ("gpl", "{}/GPL.txt", AGPL, "GPL.txt names a GNU licence"),
    ("folder", "{}/licenses/vendored/terms.html", AGPL, "terms.html names a GNU licence"),
    ("beside", "beside/third_party/COPYRIGHT", AGPL, "COPYRIGHT names a GNU licence"),
    ("wide", "{}/LICENSE", "\0".join(AGPL), "names a GNU licence"),
    ("numpy", "{}/LICENSE.txt", AGPL, "LICENSE.txt names a GNU licence"),
    ("opencv-python-headless", "{}/LICENSE.txt", "MIT", "is gone"),
    ("typing-extensions", "{}/LICENSE", PYTHON, ""),
    ("borrower", "{}/LICENSE", PYTHON, "names a GNU licence"),
    ("program", "program/licenses/identifiers.py", "KNOWN = ['AGPL-3.0-only']", ""),
    ("innocent", "{}/LICENSE", "Permission is granted to the general public; configured with GNU Autoconf.", ""),
]  # fmt: skip


def install(site: Path, name: str, lines: str, file: str = "{}/LICENSE", text: str = "") -> None:
    """Write a package with its metadata and one file."""
    folder = f"{name.replace('-', '_')}-1.0.dist-info"
    file = file.format(folder)
    version = "2.4" if "License-Expression" in lines else "2.1"
    for path in (site / folder, (site / file).parent):
        path.mkdir(parents=True, exist_ok=True)
    (site / folder / "METADATA").write_text(f"Metadata-Version: {version}\nName: {name}\nVersion: 1.0\n{lines}\n")
    (site / folder / "RECORD").write_text(f"{folder}/METADATA,,\n{file},,\n")
    (site / file).write_text(text, encoding="utf-8", newline="")


@pytest.fixture(scope="module")
def python(tmp_path_factory) -> Path:
    """An environment with packages of these metadata."""
    root = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", root], check=True)
    python = next(path for path in (root / "bin" / "python", root / "Scripts" / "python.exe") if path.exists())
    command = [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    packages = Path(subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip())
    for name, lines, _ in PACKAGES:
        install(packages, name, lines)
    for name, file, text, _ in TEXTS:
        install(packages, name, "License-Expression: MIT", file, text)
    return python


def test_licences_that_are_not_allowed_are_refused(python, tmp_path):
    script = ROOT / ".ci" / "bill_of_materials.py"
    done = subprocess.run([sys.executable, script, python, tmp_path / "bill.json"], capture_output=True, text=True)
    assert done.returncode == 1
    assert not (tmp_path / "bill.json").exists()
    printed = {line.split()[0]: line for line in done.stderr.splitlines()[:-1]}
    refused = {name: text for name, *_, text in PACKAGES + TEXTS if text}
    assert printed.keys() == refused.keys()
    for name, text in refused.items():
        assert text in printed[name]
