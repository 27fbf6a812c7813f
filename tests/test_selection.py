"""What is left out is reported, and where nothing may be left out it is an error."""

import os
import subprocess
import sys

import pytest

from tests import selection
from tests.conftest import ROOT


def collect(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Collect in a process of its own, on one core, whatever the options of this one."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "CXR_EDGE_"))}
    command = [sys.executable, "-m", "pytest", "--collect-only", "-p", "no:cacheprovider", *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment | variables, capture_output=True, text=True)


def test_what_the_tables_name_exists():
    for name in selection.MARKED.keys() | selection.NEEDS.keys():
        path, _, test = name.partition("::")
        assert (selection.TESTS / path).exists(), name
        assert not test or f"def {test}(" in (selection.TESTS / path).read_text(), name


def test_a_missing_package_leaves_out_what_needs_it_and_is_reported(monkeypatch):
    monkeypatch.setattr(selection, "PACKAGES", {"node": ("not_there", "pytest")})
    monkeypatch.setattr(selection, "MARKED", {"cxr_edge/node": "node"})
    monkeypatch.setattr(selection, "NEEDS", {"fuzzing": ("pytest",)})
    absent = selection.left_out()
    assert absent == {"-m node": ["not_there"], "tests/cxr_edge/node": ["not_there"]}
    assert selection.header(absent) == ["left out, without not_there: -m node, tests/cxr_edge/node"]
    monkeypatch.delenv(selection.VARIABLE, raising=False)
    selection.refuse_to_leave_out(absent)
    monkeypatch.setenv(selection.VARIABLE, "all")
    selection.refuse_to_leave_out({})
    with pytest.raises(pytest.UsageError, match="without not_there"):
        selection.refuse_to_leave_out(absent)


@pytest.mark.parametrize("value", ["all", ""])
def test_pytest_uses_the_selection(value):
    done = collect("tests/test_selection.py", CXR_EDGE_TESTS=value)
    if value == "all" and (absent := selection.left_out()):
        assert done.returncode != 0
        assert selection.header(absent)[0] in done.stderr
    else:
        assert done.returncode == 0, done.stdout + done.stderr
        assert all(line in done.stdout for line in selection.header(selection.left_out()))


def test_every_test_is_fast_or_has_a_marker_for_the_reason():
    def count(*chosen: str) -> int:
        return collect("--quiet", *chosen, "tests/cxr_edge/images/dicom", "tests/test_release.py").stdout.count("::")

    assert count() == count("-m", "fast") + count("-m", " or ".join(selection.KEPT_OUT)) > 100
