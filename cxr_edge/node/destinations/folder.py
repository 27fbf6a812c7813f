"""A folder that receives results, for sites without an archive."""

from pathlib import Path

from cxr_edge.node.config import FolderDestination
from cxr_edge.node.destinations.base import Unreachable
from cxr_edge.support.files import PART, PREFIX, READABLE, flush, store


class FolderSender:
    """Copies each object under its own name, completely or not at all."""

    def __init__(self, destination: FolderDestination) -> None:
        self._folder = destination.folder
        for left in self._folder.glob(f"{PREFIX}*{PART}"):  # after an interruption
            left.unlink(missing_ok=True)

    def send(self, path: Path) -> None:
        """Copy an object."""
        data = path.read_bytes()
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            store(self._folder, path.name, data, READABLE)
        except OSError as error:
            raise Unreachable(f"{self._folder} cannot be written ({error.strerror})") from error

    def withdraw(self, name: str) -> None:
        """Remove an object, if it is there."""
        try:
            (self._folder / name).unlink(missing_ok=True)
            if self._folder.exists():
                flush(self._folder)
        except OSError as error:
            raise Unreachable(f"{self._folder} cannot be written ({error.strerror})") from error

    def close(self) -> None:
        """Do nothing: no connection is open."""
