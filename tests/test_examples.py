"""Each example does what its documentation states, run as a person would run it."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.dicom import dicom_files
from benchmarks.node import images
from benchmarks.node.site import Site, missing
from cxr_edge.model.bundle import read_bundle
from tests.validators import program

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples"
#: Of 10; systemd rates up to 2 as OK, and a unit without hardening as 9.6.
MOST_EXPOSURE = 2.0
#: What SQLite calls when it runs as root; the service does not.
AS_ROOT = {"fchown"}


def test_the_model_inside_a_scanners_software(image_path: Path) -> None:
    command = [sys.executable, EXAMPLES / "embedded.py", image_path, image_path]
    printed = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=True).stdout.splitlines()
    assert re.search(r"<Model .*>, \{'(tta|adaptive)': (True|False)\}", printed[0])
    for line in printed[1:]:
        assert re.match(rf"{re.escape(str(image_path))}: \d\.\d+ s", line)
        assert "not for diagnosis" in line
    assert len(printed) == 3


@pytest.mark.node
def test_a_scanners_software_beside_the_node(tmp_path: Path) -> None:
    if (why := missing()) is not None:
        pytest.skip(why)
    source = (EXAMPLES / "through_the_node.py").read_text()
    destination = "".join(
        line.removeprefix("    ") for line in re.findall(r"^    (?:\[\[destinations\]\]|\w+ = ).*\n", source, re.M)[:6]
    )
    with Site(tmp_path) as site:
        site.configure(f"\n{destination}")
        site.start_node()
        printed = site.run(sys.executable, EXAMPLES / "through_the_node.py", dicom_files.CHEST, timeout=120)
        assert "RG1_UNCR.dcm: taken" in printed
        assert re.search(r"Mass: 0\.\d\d, present", printed)
        assert len(re.findall(r": [01]\.\d\d, (present|absent)", printed)) == len(read_bundle().manifest.finding_names)
        assert "not for diagnosis" in printed
        site.settle()
        assert site.stop_node() == 0


def test_the_service_is_hardened() -> None:
    unit = EXAMPLES / "cxr-edge-node.service"
    command = [program("systemd-analyze"), "security", "--offline=yes", "--no-pager", unit]
    printed = subprocess.run(command, capture_output=True, text=True).stdout
    found = re.search(r"Overall exposure level for \S+: ([\d.]+)", printed)
    assert found, printed
    assert float(found[1]) <= MOST_EXPOSURE
    for setting in ("NoNewPrivileges=yes", "PrivateTmp=yes", "MemoryMax="):
        assert setting in unit.read_text()


def calls_of(name: str) -> set[str]:
    """Return the system calls of one of systemd's sets."""
    command = [program("systemd-analyze"), "--no-pager", "syscall-filter", name]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    names = {line.strip() for line in printed.splitlines()[1:]} - {""}
    names = {name for name in names if not name.startswith("#")}
    return {call for name in names for call in (calls_of(name) if name.startswith("@") else {name})}


@pytest.mark.node
def test_the_service_allows_what_the_node_calls(tmp_path: Path) -> None:
    """A call that is not allowed would fail only in operation; compressed pixels need a process of their own."""
    if (why := missing()) is not None:
        pytest.skip(why)
    program("strace")
    allowed: set[str] = set()
    for setting in re.findall(r"^SystemCallFilter=(.*)$", (EXAMPLES / "cxr-edge-node.service").read_text(), re.M):
        calls = calls_of(setting.removeprefix("~"))
        allowed = allowed - calls if setting.startswith("~") else allowed | calls
    lossless = "1.2.840.10008.1.2.4.70"
    (tmp_path / "image.dcm").write_bytes(dicom_files.written(dicom_files.compressed(images.make(1), lossless)))
    trace = tmp_path / "trace"
    with Site(tmp_path) as site:
        site.configure('\n[[destinations]]\nkind = "folder"\nname = "out"\nfolder = "out"\n')
        site.start_node("strace", "-f", "-qq", "-o", trace)
        assert site.store(tmp_path / "image.dcm", options=["-xs"]) == [0]
        site.settle()
        assert len(list((tmp_path / "out").glob("*.dcm"))) > 1
        site.run("pkill", "-TERM", "-f", site.folder / "node.toml")
        assert site.node is not None
        site.node.wait(60)
    made = set(re.findall(r"^\d+ +(\w+)\(", trace.read_text(errors="replace"), re.M))
    assert {"fsync", "execve", "accept4"} <= made
    assert made - AS_ROOT <= allowed


@pytest.mark.node
def test_the_conformance_statement_is_what_the_command_prints() -> None:
    command = [sys.executable, "-m", "cxr_edge", "node", "conformance"]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert printed == (ROOT / "docs" / "conformance.md").read_text(), "python -m cxr_edge node conformance > docs/…"
