"""SIGKILL from outside: no acknowledged image is lost, and no result is doubled."""

import shutil
from pathlib import Path

import pytest

from benchmarks.node import crashes, disturbances
from benchmarks.node.site import missing


@pytest.fixture(autouse=True)
def programs() -> None:
    if (why := missing()) is not None:
        pytest.skip(why)


def test_killed_at_random_moments(tmp_path: Path) -> None:
    row = crashes.killed_at_random(tmp_path, trials=4, seed=7)
    assert (row.lost, row.doubled) == (0, 0)
    assert row.received == row.expected >= 4 * 3 * 2


@pytest.mark.parametrize("call", ["fsync", "fdatasync", "rename", "sendto"])
def test_killed_at_a_step(tmp_path: Path, call: str) -> None:
    if shutil.which("strace") is None:
        pytest.skip("needs strace")
    (row,) = crashes.killed_at_each_step(tmp_path, {call: 2})
    assert row.trials >= 1, "the node was never killed"
    assert (row.lost, row.doubled) == (0, 0)
    assert row.received == row.expected > 0


def test_a_moved_clock(tmp_path: Path) -> None:
    if shutil.which("gcc") is None:
        pytest.skip("needs gcc")
    row = disturbances.clock_moved(tmp_path, trials=4, seed=7)
    assert (row.lost, row.doubled, row.dead) == (0, 0, 0)
    assert row.received == row.expected >= 4 * 2


def test_copies_that_stall(tmp_path: Path) -> None:
    row = disturbances.half_copied(tmp_path, trials=2, seed=7)
    assert (row.lost, row.doubled, row.dead) == (0, 0, 0)
    assert row.received == row.expected >= 2 * 3 * 2
