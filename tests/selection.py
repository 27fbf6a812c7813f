"""The selection of tests: their markers, what is left out for lack of packages, and the order on several cores.

The fast part needs only the group `test`. What needs more is named here, so that it is left out in one place, with its
reason, and not test by test. With `CXR_EDGE_TESTS=all`, as in CI, it is an error that something is left out.
"""

import importlib.util
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import pytest

TESTS: Final = Path(__file__).parent

#: Set to "all" where nothing may be left out.
VARIABLE: Final = "CXR_EDGE_TESTS"

#: Marker → packages that its tests cannot be imported or run without.
PACKAGES: Final[Mapping[str, tuple[str, ...]]] = {
    "training": ("joblib", "keras", "matplotlib", "onnxslim", "pandas", "scipy", "sklearn", "tensorflow", "tf2onnx"),
    "node": ("prometheus_client", "pynetdicom", "requests", "watchfiles"),
    "browser": ("axe_playwright_python", "playwright"),
}

#: A test with none of these is fast.
KEPT_OUT: Final = ("slow", *PACKAGES, "installs")

#: Folder or file → its marker. A test gets others by its fixtures, below, or by itself.
MARKED: Final[Mapping[str, str]] = {
    "benchmarks/test_node.py": "node",
    "cxr_edge/demo": "browser",
    "cxr_edge/node": "node",
    "cxr_edge/outputs/html/test_in_a_browser.py": "browser",
    "export": "training",
    "training": "training",
}

#: Fixture → the marker of tests that use it.
BY_FIXTURE: Final[Mapping[str, str]] = {"browser": "browser", "with_int8": "training"}

#: Folder, file or test → packages besides those of its marker.
NEEDS: Final[Mapping[str, tuple[str, ...]]] = {
    "benchmarks/test_engine_profile.py": ("threadpoolctl",),
    "benchmarks/test_growth.py": ("matplotlib",),
    "benchmarks/test_scenarios.py": ("mlperf_loadgen",),
    "cxr_edge/backends/test_openvino.py": ("openvino",),
    "cxr_edge/backends/tensorrt/test_graph.py": ("cuda", "tensorrt_rtx"),
    "cxr_edge/demo": ("gradio", "requests"),
    "cxr_edge/backends/tensorrt/test_build.py": ("tensorrt_rtx",),
    "cxr_edge/backends/tensorrt/test_store.py": ("tensorrt_rtx",),
    "cxr_edge/model/test_any_labels.py": ("onnx", "prometheus_client", "pynetdicom", "requests", "watchfiles"),
    "cxr_edge/model/test_calibration.py": ("scipy",),
    "documentation/test_site.py::test_the_command_line_is_documented": ("sphinx",),
    "documentation/test_site.py::test_the_interface_is_documented": ("sphinx",),
    "documentation/test_site.py::test_the_site_is_built_without_a_warning": ("sphinx",),
    "programs/test_frozen.py": ("PyInstaller",),
    "programs/test_servers.py": ("gunicorn", "pyuwsgi"),
    "test_bill_of_materials.py": ("cyclonedx",),
    "test_oldest.py": ("uv",),
}

#: Seconds of the files that take longest, as CI measured them: `.ci/durations.py` writes it.
DURATIONS: Final = TESTS / "durations.json"


def missing(packages: tuple[str, ...]) -> list[str]:
    """Return the packages that are not installed."""
    return [package for package in packages if importlib.util.find_spec(package) is None]


def left_out() -> dict[str, list[str]]:
    """Return what cannot be collected or run here: path below tests/ or marker → the packages that it lacks."""
    needs = {f"-m {marker}": missing(packages) for marker, packages in PACKAGES.items()}
    for path in MARKED.keys() | NEEDS.keys():
        packages = (*PACKAGES.get(MARKED.get(path, ""), ()), *NEEDS.get(path, ()))
        needs[f"tests/{path}"] = sorted(set(missing(packages)))
    return {what: lacking for what, lacking in sorted(needs.items()) if lacking}


def header(absent: Mapping[str, list[str]]) -> list[str]:
    """Describe what is left out and why: one line for all that lacks the same packages."""
    by_packages: dict[str, list[str]] = {}
    for what, lacking in absent.items():
        by_packages.setdefault(", ".join(lacking), []).append(what)
    return [f"left out, without {packages}: {', '.join(left)}" for packages, left in by_packages.items()]


def refuse_to_leave_out(absent: Mapping[str, list[str]]) -> None:
    """Raise where tests are left out and none may be."""
    if absent and os.environ.get(VARIABLE) == "all":
        raise pytest.UsageError("\n".join([f"{VARIABLE}=all, but tests are left out", *header(absent)]))


def place(path: Path) -> str:
    """Return a path as the tables above name it."""
    return path.relative_to(TESTS).as_posix() if path.is_relative_to(TESTS) else ""


def add_markers(items: list[pytest.Item]) -> None:
    """Add the markers of every test, and its file as the group that runs on one core, one test after the other."""
    for item in items:
        where = place(item.path)
        for path, marker in MARKED.items():
            if f"{where}/".startswith(f"{path}/"):
                item.add_marker(marker)
        for fixture, marker in BY_FIXTURE.items():
            if fixture in getattr(item, "fixturenames", ()):
                item.add_marker(marker)
        if not any(item.get_closest_marker(marker) for marker in KEPT_OUT):
            item.add_marker("fast")
        if item.get_closest_marker("xdist_group") is None:
            item.add_marker(pytest.mark.xdist_group(where))


def lacks(item: pytest.Item) -> bool:
    """Return whether packages are missing that the tables above name for this test or for one of its markers."""
    named = NEEDS.get(f"{place(item.path)}::{getattr(item, 'originalname', item.name)}", ())
    return bool(missing(named)) or any(
        item.get_closest_marker(marker) and missing(packages) for marker, packages in PACKAGES.items()
    )


def longest_first(items: list[pytest.Item]) -> None:
    """Put the files that take longest first, so that no core waits for another at the end."""
    seconds = json.loads(DURATIONS.read_text()) if DURATIONS.exists() else {}
    items.sort(key=lambda item: -seconds.get(place(item.path), 0))
