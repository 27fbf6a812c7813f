"""A folder that images are put into: each is taken into the queue once, when it is whole, and then removed.

An event can come while a file is still being written, and is lost while no node runs. So events only say when
to look; what counts is a file whose size and time stand still, in a scan that is repeated.
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

#: Where files go that cannot be taken; hidden, and so not looked at again.
REFUSED: Final = ".refused"
_SCAN_SECONDS: Final = 5.0
#: Characters of a refused file's name that are kept: what comes before them must fit, too.
_NAME: Final = 40
_TAKEN: Final = (IntakeOutcome.QUEUED, IntakeOutcome.DUPLICATE)

#: What a file is known by: its node, size, times of its content and of its rights.
Stamp = tuple[int, int, int, int]


class FolderWatch(Background):
    """Watches from `start` to `stop`.

    Raises
    ------
    NodeConfig
        The folder is missing, and cannot be made.
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
        #: File → what it was at the last look, and since when; and of files that could not be taken or moved away.
        self._seen: dict[str, tuple[Stamp, float]] = {}
        self._left: dict[str, Stamp] = {}

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._watch()
            except (OSError, RuntimeError) as error:  # as watchfiles tells what the system could not do
                log.error("no word of changes in the watched folder: %s; it is looked at all the same",
                          type(error).__name__)  # fmt: skip
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
            return  # another file came in its place, or it went on growing: that is looked at anew
        if outcome in _TAKEN:
            Path(path).unlink(missing_ok=True)
        elif outcome is not IntakeOutcome.NO_SPACE:
            self._refuse(path, outcome.value)

    def _refuse(self, path: str, code: str) -> None:
        """Put a file aside, under a name that cannot collide."""
        log.warning("a watched file is put into %s: %s", REFUSED, code)
        name = f"{time.time_ns()}-{code}-{Path(path).name[-_NAME:]}"
        shutil.move(path, self._config.folder / REFUSED / name)


def _stamp(path: str) -> Stamp | None:
    """Tell what a file is known by; None if it is gone, or not ours to look at."""
    try:
        now = os.stat(path)
    except OSError:
        return None
    return now.st_ino, now.st_size, now.st_mtime_ns, now.st_ctime_ns
