"""A folder that films are put into: each is taken into the queue once, when it is whole, and then removed.

An event can come while a file is still being written, and is lost while no node runs. So events only say when
to look; what counts is a file whose size and time stand still, in a scan that is repeated.
"""

import os
import sqlite3
import threading
import time
from pathlib import Path
from typing import Final

from watchfiles import watch

from cxr_edge.errors import InputError, NodeConfig
from cxr_edge.inputs import discover, read_bytes
from cxr_edge.node.admit import Admission, Admitted
from cxr_edge.node.config import Watch
from cxr_edge.node.logs import log
from cxr_edge.node.metrics import RECEIVED
from cxr_edge.node.spool import PART

#: Where files go that cannot be taken; hidden, and so not looked at again.
REFUSED: Final = ".refused"
_SCAN_SECONDS: Final = 5.0
_TAKEN: Final = (Admitted.QUEUED, Admitted.DUPLICATE)


class FolderWatch:
    """Watches from `start` to `stop`.

    Raises
    ------
    NodeConfig
        The folder is missing, and cannot be made.
    """

    def __init__(self, config: Watch, admission: Admission, max_file_bytes: int) -> None:
        self._config, self._admission, self._most = config, admission, max_file_bytes
        try:
            (config.folder / REFUSED).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise NodeConfig(f"the folder {config.folder} cannot be watched ({error.strerror})") from error
        self._stopping = threading.Event()
        self._seen: dict[str, tuple[int, int]] = {}
        self._thread = threading.Thread(target=self._run, name="watch")

    @property
    def alive(self) -> bool:
        """Whether the thread is at work."""
        return self._thread.is_alive()

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Finish the file that is being taken, and end."""
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        settle = int(1000 * min(self._config.settle_seconds, _SCAN_SECONDS))
        for _ in watch(
            self._config.folder, stop_event=self._stopping, rust_timeout=settle, yield_on_timeout=True, debounce=50
        ):
            try:
                self._scan()
            except OSError as error:
                log.error("the watched folder cannot be read: %s", error.strerror)

    def _scan(self) -> None:
        found = {}
        for path in discover([str(self._config.folder)]):
            if self._stopping.is_set():
                return
            if path.endswith(PART):
                continue
            try:
                now = os.stat(path)
            except FileNotFoundError:
                continue
            found[path] = (now.st_size, now.st_mtime_ns)
            quiet = time.time() - now.st_mtime >= self._config.settle_seconds
            if quiet and self._seen.get(path) == found[path]:
                self._take(path)
        self._seen = found

    def _take(self, path: str) -> None:
        try:
            admitted = self._admission.admit(read_bytes(path, self._most))
        except InputError as error:
            self._refuse(path, error.code)
            return
        except (OSError, sqlite3.Error) as error:
            log.error("a watched file waits: %s", type(error).__name__)
            return
        RECEIVED.labels("folder", admitted.value).inc()
        if admitted in _TAKEN:
            Path(path).unlink(missing_ok=True)
        elif admitted is not Admitted.NO_SPACE:
            self._refuse(path, admitted.value)

    def _refuse(self, path: str, code: str) -> None:
        """Put a file aside, under a name that cannot collide."""
        log.warning("a watched file is put into %s: %s", REFUSED, code)
        os.replace(path, self._config.folder / REFUSED / f"{time.time_ns()}-{code}-{Path(path).name}")
