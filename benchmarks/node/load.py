"""The node under load: images per second, time from sending an image to its results at the archive, memory."""

import itertools
import re
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil

from benchmarks.node import images
from benchmarks.node.site import Site, wait_for
from benchmarks.node.verdict import Row, judged
from cxr_edge.node.logs import short

SENDERS = 8
#: Share of the time in which images come at a steady rate, half of the rate that was reached before.
PACED = 1 / 6
_DELIVERED = re.compile(r"^(\S+ [\d:]+,\d+) INFO image (\w+): all results at ")
_SAMPLING_SECONDS = 5.0
#: Images after which the node has allocated its decoders, arenas and caches.
_WARM = 50


@dataclass(frozen=True)
class Phase:
    """One part of the run: how images were sent, and how long they took.

    Attributes
    ----------
    name : str
    images : int
    seconds : float
        From the first sending to the last result.
    p50, p90, p99, largest : float
        Seconds from the start of sending an image to its last result at the archive.
    """

    name: str
    images: int
    seconds: float
    p50: float
    p90: float
    p99: float
    largest: float

    def to_dict(self) -> dict[str, Any]:
        """Return the phase as it is recorded, with the rate."""
        return {**asdict(self), "images_per_second": self.images / self.seconds}


def load(site: Site, seconds: float, most: int, progress: Callable[[str], None]) -> dict[str, Any]:
    """Load a node, first to its capacity, then with half of that rate.

    Parameters
    ----------
    site : Site
        With a running archive, and a configured node that is not started.
    seconds : float
    most : int
        Images.
    progress : callable

    Returns
    -------
    dict
        ``phases``, ``memory`` and ``verdict``.
    """
    site.start_node(log_level="INFO")
    scanners = Scanners(site)
    memory = Memory(site)
    progress(f"{SENDERS} senders, each with one image on the way")
    full = scanners.all_at_once(seconds * (1 - PACED), round(most * (1 - PACED)))
    rate = full.images / full.seconds / 2
    progress(f"one image every {1 / rate:.2f} s")
    paced = scanners.at_rate(rate, seconds * PACED, most - full.images)
    site.settle()
    samples = memory.stop()
    numbers = list(range(scanners.sent))
    row = judged(site, Row("load", len(numbers), len(numbers)), numbers)
    return {"phases": [full.to_dict(), paced.to_dict()], "memory": samples, "verdict": row.to_dict()}


class Scanners:
    """Senders of images, and when each image's results arrived."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._lock = threading.Lock()
        self._numbers = itertools.count()
        self.sent = 0
        #: Short name of an image, as in the log → when all its results were at the archive.
        self._delivered: dict[str, float] = {}
        threading.Thread(target=self._follow, daemon=True).start()

    def all_at_once(self, seconds: float, most: int) -> Phase:
        """Run eight senders, each of which sends an image and waits for its results."""
        end = time.monotonic() + seconds
        times: list[tuple[float, float]] = []

        def scan() -> None:
            while time.monotonic() < end and self.sent < most:
                began, name = self._send()
                times.append((began, self._wait_for(name)))

        began = time.time()
        with ThreadPoolExecutor(SENDERS) as pool:
            for scanner in [pool.submit(scan) for _ in range(SENDERS)]:
                scanner.result()
        return _phase(f"{SENDERS} senders, each with one image on the way", began, times)

    def at_rate(self, rate: float, seconds: float, most: int) -> Phase:
        """Send images at a steady rate, without waiting for earlier ones."""
        began, senders = time.time(), []
        with ThreadPoolExecutor(SENDERS) as pool:
            for number in range(max(1, min(most, int(rate * seconds)))):
                time.sleep(max(0, began + number / rate - time.time()))
                senders.append(pool.submit(self._send))
            times = [(at, self._wait_for(name)) for at, name in (sender.result() for sender in senders)]
        return _phase("steady, at half of that", began, times)

    def _send(self) -> tuple[float, str]:
        """Make an image and send it; return when its sending began, and its name."""
        with self._lock:
            number = next(self._numbers)
            self.sent += 1
        (path,) = images.write(self._site.folder / "images", [number])
        began = time.time()
        self._site.store_until_taken(path)
        path.unlink()
        return began, images.name(number)

    def _wait_for(self, name: str) -> float:
        wait_for(lambda: short(name) in self._delivered, f"all results of image {short(name)} are delivered", 120)
        return self._delivered[short(name)]

    def _follow(self) -> None:
        for line in _lines(self._site.log):
            if (found := _DELIVERED.match(line)) is not None:
                self._delivered[found[2]] = datetime.strptime(found[1], "%Y-%m-%d %H:%M:%S,%f").timestamp()  # noqa: DTZ007


class Memory:
    """Resident memory of the node and its decoders, sampled every few seconds until `stop`."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._samples: list[dict[str, float]] = []
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()

    def stop(self) -> list[dict[str, float]]:
        """Stop; return seconds, finished images and MiB of each sample."""
        self._stopping.set()
        self._thread.join()
        return self._samples

    def _watch(self) -> None:
        assert self._site.node is not None
        process = psutil.Process(self._site.node.pid)
        began = time.monotonic()
        while not self._stopping.wait(_SAMPLING_SECONDS):
            family = [process, *process.children(recursive=True)]
            health = self._site.health()
            self._samples.append(
                {
                    "seconds": round(time.monotonic() - began),
                    "images": health["queue"]["image-done"] if health else 0,
                    "mib": round(sum(one.memory_info().rss for one in family) / 2**20, 1),
                }
            )


def summary(samples: list[dict[str, float]]) -> dict[str, float]:
    """Return memory at the start (once the node is warm), in the middle and at the end, and the most, in MiB."""
    warm = [sample["mib"] for sample in samples if sample["images"] >= _WARM] or [sample["mib"] for sample in samples]
    few = max(1, len(warm) // 20)
    middle = len(warm) // 2
    return {
        "start": statistics.median(warm[:few]),
        "middle": statistics.median(warm[middle : middle + few]),
        "end": statistics.median(warm[-few:]),
        "most": max(sample["mib"] for sample in samples),
    }


def _phase(name: str, began: float, times: list[tuple[float, float]]) -> Phase:
    took = sorted(end - start for start, end in times)

    def percentile(share: float) -> float:
        return took[min(len(took) - 1, int(share * len(took)))]

    seconds = max(end for _, end in times) - began
    return Phase(name, len(times), seconds, percentile(0.5), percentile(0.9), percentile(0.99), took[-1])


def _lines(path: Path) -> Iterator[str]:
    """Yield the lines of a file as they are written, for ever."""
    with path.open(errors="replace") as file:
        rest = ""
        while True:
            rest += file.readline()
            if rest.endswith("\n"):
                yield rest
                rest = ""
            else:
                time.sleep(0.02)
