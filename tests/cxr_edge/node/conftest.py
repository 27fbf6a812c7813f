"""Fixtures: a site with the real programs, where this machine has them."""

import gc
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.node.site import Site, missing


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """Make a namespace in which dcmtk, the node and Orthanc can be started."""
    if (why := missing()) is not None:
        pytest.skip(why)
    with Site(tmp_path) as site:
        yield site


@pytest.fixture
def collected() -> Iterator[None]:
    """Close sockets that pynetdicom leaves to the garbage collection within their own test, and not in another."""
    yield
    gc.collect()
