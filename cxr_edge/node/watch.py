"""The watched folder: each image in it is taken into the queue once, when it is complete, and then removed.

An event can come while a file is still being written, and is lost while no node runs. So events only trigger a scan;
a file is taken once its size and times did not change between scans.
"""

import os
import shutil
import sqlite3
import time
from pathlib import Path
from typing import Final

from watchfiles import watch

from cxr_edge.errors import InputError, NodeConfig, NotFound, PermissionDenied, Unreadable
from cxr_edge.images.files import discover, read_bytes
from cxr_edge.node.background import Background
from cxr_edge.node.config import Watch
from cxr_edge.node.intake import Intake, IntakeOutcome
from cxr_edge.node.logs import log
from cxr_edge.node.metrics import RECEIVED
from cxr_edge.support.files import PART

#: Where files go that cannot be taken; hidden, so that it is not scanned.
REFUSED: Final = ".refused"
_SCAN_SECONDS: Final = 5.0
#: Characters of a refused file's name that are kept, so that the name with its prefix is not too long.
_NAME: Final = 40
_TAKEN: Final = (IntakeOutcome.QUEUED, IntakeOutcome.DUPLICATE)

#: Identifies the state of a file: inode, size, modification time, status change time.
Stamp = tuple[int, int, int, int]


class FolderWatch(Background):
    """A thread that watches the folder from `start` to `stop`.

    Raises
    ------
    NodeConfig
        The folder cannot be made, or not be written.
    """

    def __init__(self, config: Watch, intake: Intake, max_file_bytes: int) -> None:
        super().__init__("watch")
        self._config, self._intake, self._most = config, intake, max_file_bytes
        try:
            (config.folder / REFUSED).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise NodeConfig(
                f"the folder {config.folder} cannot be watched ({error.strerror}); let this user read and write there"
            ) from error
        #: File → its stamp in the last scan, and the time since when it is the same.
        self._seen: dict[str, tuple[Stamp, float]] = {}
        #: File that could be neither taken nor moved away → its stamp then.
        self._left: dict[str, Stamp] = {}

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._watch()
            except (OSError, RuntimeError) as error:  # watchfiles raises these for failures of the system
                log.error("no events of the watched folder: %s; it is scanned at intervals", type(error).__name__)
                self._scan()
                self._stopping.wait(_SCAN_SECONDS)

    def _watch(self) -> None:
        settle = int(1000 * min(self._config.settle_seconds, _SCAN_SECONDS))
        for _ in watch(
            self._config.folder, stop_event=self._stopping, rust_timeout=settle, yield_on_timeout=True, debounce=50
        ):
            self._scan()

    def _scan(self) -> None:
        found: dict[str, tuple[Stamp, float]] = {}
        for path in discover([str(self._config.folder)]):
            if self._stopping.is_set():
                return
            if path.endswith(PART) or (stamp := _stamp(path)) is None:
                continue
            before, since = self._seen.get(path, (None, 0.0))
            found[path] = (stamp, since if before == stamp else time.monotonic())
            still = time.monotonic() - found[path][1] >= self._config.settle_seconds
            if still and self._left.get(path) != stamp:
                self._one(path, stamp)
        self._seen = found
        self._left = {path: stamp for path, stamp in self._left.items() if path in found and found[path][0] == stamp}

    def _one(self, path: str, stamp: Stamp) -> None:
        """Take a file; one that cannot be opened or moved stays, and is left alone until it changes."""
        try:
            self._take(path, stamp)
        except (PermissionDenied, Unreadable, OSError) as error:
            log.error("a watched file stays where it is: %s", type(error).__name__)
            self._left[path] = stamp
        except sqlite3.Error as error:
            log.error("a watched file waits: %s", type(error).__name__)

    def _take(self, path: str, stamp: Stamp) -> None:
        try:
            data = read_bytes(path, self._most)
        except (PermissionDenied, Unreadable):
            raise
        except NotFound:
            return
        except InputError as error:
            self._refuse(path, error.code)
            return
        try:
            outcome = self._intake.take(data, source=os.path.relpath(path, self._config.folder))
        except OSError as error:
            log.error("a watched file waits: %s", type(error).__name__)
            return
        RECEIVED.labels("folder", outcome.value).inc()
        if _stamp(path) != stamp:
            return  # the file was replaced or is still growing: the next scan handles it
        if outcome in _TAKEN:
            Path(path).unlink(missing_ok=True)
        elif outcome is not IntakeOutcome.NO_SPACE:
            self._refuse(path, outcome.value)

    def _refuse(self, path: str, code: str) -> None:
        """Move a file to `REFUSED`, under a name that cannot collide."""
        log.warning("a watched file is moved to %s: %s", REFUSED, code)
        name = f"{time.time_ns()}-{code}-{Path(path).name[-_NAME:]}"
        shutil.move(path, self._config.folder / REFUSED / name)


def _stamp(path: str) -> Stamp | None:
    """Return the stamp of a file; None if it is gone, or not accessible."""
    try:
        now = os.stat(path)
    except OSError:
        return None
    return now.st_ino, now.st_size, now.st_mtime_ns, now.st_ctime_ns
