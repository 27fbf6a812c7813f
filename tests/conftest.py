"""Fixtures: the real bundle, the real images the repository carries, and NIH's where they are available."""

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pytest

import cxr_edge
from cxr_edge.backends.nvidia import find_gpu
from cxr_edge.errors import DeviceUnavailable
from cxr_edge.images import read_image
from cxr_edge.model.bundle import SHIPPED, read_bundle
from cxr_edge.model.calibration import Calibration
from tests import selection

if TYPE_CHECKING:
    from playwright.sync_api import Browser

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

ROOT = Path(__file__).parent.parent
SAMPLES = sorted((ROOT / "samples").glob("*.png"))
NIH = ROOT.parent / "shared" / "data" / "nih"

#: Root reads everything; without these two capabilities it is bound by permissions like anyone.
AS_ANYONE = (
    ["setpriv", "--bounding-set=-dac_override,-dac_read_search"] if os.name == "posix" and os.geteuid() == 0 else []
)


def pytest_configure() -> None:
    selection.refuse_to_leave_out(selection.left_out())


def pytest_report_header() -> list[str]:
    return selection.header(selection.left_out())


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    return f"tests/{selection.place(collection_path)}" in selection.left_out() or None


@pytest.hookimpl(tryfirst=True)  # before `-m` and xdist read them
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    selection.add_markers(items)
    lacking = [item for item in items if selection.lacks(item)]
    if lacking:
        config.hook.pytest_deselected(items=lacking)
        items[:] = [item for item in items if item not in lacking]
    if os.environ.get("PYTEST_XDIST_WORKER"):
        selection.longest_first(items)


@pytest.fixture(scope="session")
def model() -> cxr_edge.Model:
    """The shipped bundle, one thread per inference."""
    return cxr_edge.load(device="cpu", threads=1)


@pytest.fixture(scope="session")
def uncalibrated() -> cxr_edge.Model:
    """The shipped bundle without calibration: the network's own probabilities."""
    bundle = read_bundle()
    manifest = msgspec.structs.replace(bundle.manifest, calibration=Calibration("identity"))
    return cxr_edge.Model(replace(bundle, manifest=manifest), "cpu")


def free_port() -> int:
    """Find a port of the loopback interface that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def without_maps() -> cxr_edge.Model:
    """Load the shipped bundle as if it had no companion graph."""
    bundle = read_bundle()
    return cxr_edge.Model(replace(bundle, manifest=msgspec.structs.replace(bundle.manifest, maps=None)), "cpu")


@pytest.fixture(params=SAMPLES, ids=lambda path: path.stem)
def sample(request: pytest.FixtureRequest) -> Path:
    """Each of the repository's images in turn."""
    return request.param


@pytest.fixture(scope="session")
def image_path() -> Path:
    """One of the repository's images, with findings."""
    return SAMPLES[1]


@pytest.fixture(scope="session")
def image(image_path: Path) -> np.ndarray:
    """Its pixels, (1024, 1024) uint8."""
    return read_image(image_path).pixels


@pytest.fixture(scope="module")
def browser() -> Iterator["Browser"]:
    """A headless Chromium."""
    from tests.browser import chromium

    with chromium() as started:
        yield started


@pytest.fixture(scope="session")
def no_gpu() -> None:
    """Skip a test of messages without a GPU where there is one."""
    try:
        find_gpu()
    except DeviceUnavailable:
        return
    pytest.skip("this machine has a GPU")


@pytest.fixture(scope="session")
def nih() -> Path:
    """A part of NIH ChestX-ray14, which the repository does not carry."""
    if not NIH.is_dir():
        pytest.skip("needs a part of NIH ChestX-ray14 beside the repository (shared/data/nih)")
    return NIH


@pytest.fixture(scope="session")
def all_images(nih, tmp_path_factory) -> Path:
    """All images that the shipped model was fitted, calibrated and tested on: two folders of NIH's laid together."""
    merge = nih.parent / "nih-more" / "merge.py"
    if not merge.is_file():
        pytest.skip("needs more of NIH ChestX-ray14 beside the repository (shared/data/nih-more)")
    merged = tmp_path_factory.mktemp("nih") / "merged"
    subprocess.run([sys.executable, merge, merged], check=True, capture_output=True)
    return merged


@pytest.fixture(scope="session")
def with_int8(tmp_path_factory) -> Path:
    """The shipped bundle with an int8 variant, observed on the samples; the package leaves it out to stay small."""
    import pandas as pd

    from export.variants import make_int8, write_variant

    root = tmp_path_factory.mktemp("int8") / "bundle"
    shutil.copytree(SHIPPED, root)
    images = pd.DataFrame({"image": [path.name for path in SAMPLES], "path": SAMPLES})
    bundle = read_bundle(root)
    write_variant(root, bundle, "int8", make_int8(bundle, images), {})
    return root


@pytest.fixture(scope="session")
def trained_keras() -> Path:
    """The Keras model that the shipped bundle was exported from."""
    return ROOT / "training" / "models" / "nih14-efficientnetb0" / "model.keras"
