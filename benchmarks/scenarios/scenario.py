"""The scenarios, and how many images each processes at a time. One sample is one study, which is one image.

SingleStream sends one image after the other, MultiStream eight in a query, Offline all at once.
"""

from dataclasses import dataclass
from enum import Enum


class Scenario(str, Enum):
    """MLPerf Inference's scenarios for the edge."""

    SINGLE_STREAM = "SingleStream"
    MULTI_STREAM = "MultiStream"
    OFFLINE = "Offline"


@dataclass(frozen=True)
class Concurrency:
    """Threads that share one image, and images in work at the same time."""

    threads: int
    workers: int


def concurrency_of(scenario: Scenario, cores: int) -> Concurrency:
    """Return all cores for one image, for the shortest latency; or one core for each, for the highest throughput."""
    if scenario is Scenario.SINGLE_STREAM:
        return Concurrency(threads=cores, workers=1)
    return Concurrency(threads=1, workers=cores)
