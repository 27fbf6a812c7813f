"""A site in which everything runs, and scanners that repeat until an image is taken."""

import threading
from pathlib import Path

from benchmarks.node import images
from benchmarks.node.site import Site


class RunningSite(Site):
    """A site with a running archive and a configured node."""

    def __init__(self, folder: Path, destination: str, min_free_mib: int = 16) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        super().__init__(folder)
        self._destination, self._min_free_mib = destination, min_free_mib

    def __enter__(self) -> "RunningSite":
        super().__enter__()
        self.start_orthanc()
        self.configure(self._destination, min_free_mib=self._min_free_mib)
        return self


def send(site: Site, numbers: list[int]) -> list[threading.Thread]:
    """Send images, each from a scanner of its own that repeats until it succeeds."""
    paths = images.write(site.folder / "images", list(dict.fromkeys(numbers)))
    by_number = dict(zip(dict.fromkeys(numbers), paths, strict=True))
    senders = [threading.Thread(target=site.store_until_taken, args=(by_number[number],)) for number in numbers]
    for sender in senders:
        sender.start()
    return senders
