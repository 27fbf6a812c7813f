"""The watched folder: each image in it is taken into the queue once, when it is whole, and then removed.

An event can come while a file is still being written, and is lost while no node runs. So events only trigger a scan; a
file is looked at once its size and times did not change between scans. That proves nothing about a copy that stalls: a
file is removed only after it was decoded to its end and is in the queue, both flushed, and it is moved away only after
the time that a copy may stall.
"""

import os
import shutil
import sqlite3
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from watchfiles import watch

from cxr_edge.errors import DecoderFailed, InputError, NodeConfig, NotFound, PermissionDenied, Unreadable
from cxr_edge.images.files import discover, read_bytes
from cxr_edge.images.limits import InputLimits
from cxr_edge.node.background import Background
from cxr_edge.node.config import Watch
from cxr_edge.node.intake import Intake, IntakeOutcome
from cxr_edge.node.logs import log
from cxr_edge.node.metrics import RECEIVED
from cxr_edge.node.whole import check_whole, is_temporary, may_be_unfilled

#: Where files go that cannot be taken; hidden, so that it is not scanned.
REFUSED: Final = ".refused"
_SCAN_SECONDS: Final = 5.0
#: Longest time between two looks at a file that does not change.
_LONGEST_WAIT: Final = 300.0
#: Nanoseconds within which a file is moved after its new name was chosen; that changes its status.
_MOVE_NS: Final = 1_000_000_000
#: Looks at a file whose decoder fails, by no proven fault of the file, until it is moved away.
_MOST_FAILURES: Final = 8
#: Characters of a refused file's name that are kept, so that the name with its prefix is not too long.
_NAME: Final = 40
_TAKEN: Final = (IntakeOutcome.QUEUED, IntakeOutcome.CORRECTED, IntakeOutcome.DUPLICATE)

#: Identifies the state of a file: inode, size, modification time, status change time.
Stamp = tuple[int, int, int, int]


@dataclass
class _File:
    """A file in the folder; times are those of the monotonic clock.

    Attributes
    ----------
    stamp : Stamp
    since : float
        Since when it is the same.
    due : float
        When to look at it.
    looks : int
        How often that was done.
    """

    stamp: Stamp
    since: float
    due: float
    looks: int = 0


class FolderWatch(Background):
    """A thread that watches the folder from `start` to `stop`.

    Raises
    ------
    NodeConfig
        The folder cannot be made, or not be written.
    """

    def __init__(self, config: Watch, intake: Intake, limits: InputLimits) -> None:
        super().__init__("watch")
        self._config, self._intake, self._limits = config, intake, limits
        try:
            is_new = not config.folder.exists()
            (config.folder / REFUSED).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise NodeConfig(
                f"the folder {config.folder} cannot be watched ({error.strerror}); let this user read and write there"
            ) from error
        if is_new:
            log.warning("the watched folder %s did not exist and was made; check that it is mounted", config.folder)
        self._seen: dict[str, _File] = {}
        #: File in `REFUSED` → its stamp there, and where it came from.
        self._refused: dict[Path, tuple[Stamp | None, str]] = dict(_refused_before(config.folder))

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
        self._bring_back()
        found: dict[str, _File] = {}
        for path in discover([str(self._config.folder)]):
            if self._stopping.is_set():
                return
            if (stamp := _stamp(path)) is None:
                continue
            now, file = time.monotonic(), self._seen.get(path)
            if file is None or file.stamp != stamp:
                file = _File(stamp, now, now + self._config.settle_seconds)
            found[path] = file
            if now >= file.due:
                self._look(path, file)
        self._seen = found

    def _look(self, path: str, file: _File) -> None:
        """Take a file, move it away, or leave it for another look: the next comes later, or when it changes."""
        now = time.monotonic()
        stalled = now - file.since >= self._config.stalled_seconds
        file.looks += 1
        file.due = now + min(self._config.stalled_seconds * 2.0 ** (file.looks - 1), _LONGEST_WAIT)
        if is_temporary(path):
            if file.looks == 2:
                log.warning("a watched file has the name of a transfer that is not finished: it is left until renamed")
            return
        try:
            code = self._take(path, file.stamp, stalled=stalled)
            if code is not None and stalled:
                self._refuse(path, file.stamp, code)
            elif code is not None and file.looks == 1:
                log.info("a watched file is not taken yet: %s; looked at again when it changes, or in %.0f s",
                         code, self._config.stalled_seconds)  # fmt: skip
        except (PermissionDenied, Unreadable, OSError) as error:
            log.error("a watched file stays where it is: %s", type(error).__name__)
        except sqlite3.Error as error:
            log.error("a watched file waits: %s", type(error).__name__)
        except Exception as error:  # no file may end the watch; the error's text may quote its data set
            log.warning("a watched file could not be decoded: %s", type(error).__name__)
            if file.looks >= _MOST_FAILURES:
                self._refuse(path, file.stamp, getattr(error, "code", "internal"))

    def _take(self, path: str, stamp: Stamp, *, stalled: bool) -> str | None:
        """Take a file into the queue and remove it; return why it was not taken, None if there is nothing more to do.

        Raises
        ------
        DecoderFailed, PermissionDenied, Unreadable, OSError, sqlite3.Error
            By no fault of the file.
        """
        try:
            data = read_bytes(path, self._limits.max_file_bytes)
            check_whole(data, self._limits)
            if not stalled and may_be_unfilled(path, data, self._limits):
                return "unfilled"
        except (DecoderFailed, PermissionDenied, Unreadable):
            raise
        except NotFound:
            return None
        except InputError as error:
            return error.code
        if _stamp(path) != stamp:  # it was written while it was read: the next scan looks at it again
            return None
        outcome = self._intake.take(data, source=os.path.relpath(path, self._config.folder))
        if outcome not in (*_TAKEN, IntakeOutcome.NO_SPACE):
            return str(outcome.value)
        RECEIVED.labels("folder", outcome.value).inc()
        if outcome in _TAKEN and _stamp(path) == stamp:  # else it was replaced or still grows: the next scan handles it
            Path(path).unlink(missing_ok=True)
        return None

    def _refuse(self, path: str, stamp: Stamp, code: str) -> None:
        """Move a file to `REFUSED`, under a name that cannot collide."""
        if _stamp(path) != stamp:
            return
        log.warning("a watched file is moved to %s: %s", REFUSED, code)
        RECEIVED.labels("folder", code).inc()
        name = f"{time.time_ns()}-{code}-{Path(path).name[-_NAME:]}"
        there = self._config.folder / REFUSED / name
        shutil.move(path, there)
        self._refused[there] = (_stamp(str(there)), path)

    def _bring_back(self) -> None:
        """Move files back that changed after they were moved away: their writer had only stalled."""
        for there, (stamp, origin) in list(self._refused.items()):
            now = _stamp(str(there))
            if now == stamp:
                continue
            if now is not None:
                if os.path.lexists(origin):
                    continue
                log.info("a file in %s changed: it is looked at again", REFUSED)
                try:
                    shutil.move(there, origin)
                except OSError as error:
                    log.error("a file in %s cannot be moved back: %s", REFUSED, type(error).__name__)
            del self._refused[there]


def _refused_before(folder: Path) -> Iterator[tuple[Path, tuple[Stamp | None, str]]]:
    """Yield the files that an earlier process moved away, without a stamp if they changed after that."""
    for path in (folder / REFUSED).iterdir():
        moved, _, rest = path.name.partition("-")
        stamp = _stamp(str(path))
        if stamp is not None and moved.isdigit():
            changed = max(stamp[2], stamp[3] - _MOVE_NS) > int(moved)
            yield path, (None if changed else stamp, str(folder / rest.partition("-")[2]))


def _stamp(path: str) -> Stamp | None:
    """Return the stamp of a file; None if it is gone, or not accessible."""
    try:
        now = os.stat(path)
    except OSError:
        return None
    return now.st_ino, now.st_size, now.st_mtime_ns, now.st_ctime_ns
