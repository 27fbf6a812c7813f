"""The file of the durable queue: opened in one format, changed in transactions that are flushed."""

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from cxr_edge.errors import NodeConfig
from cxr_edge.node.clock import NodeClock
from cxr_edge.node.tables import FORMAT, LATEST, SCHEMA

FILE: Final = "queue.sqlite"
#: Another process may lock the file for a moment, as ``cxr-edge node queue`` does.
_BUSY_SECONDS: Final = 30.0


class Database:
    """The file, and the node's time, which it keeps; safe to call from several threads.

    Parameters
    ----------
    folder : Path
        The node's data folder.

    Raises
    ------
    NodeConfig
        The file was written by a version of cxr-edge with other tables.
    """

    def __init__(self, folder: Path) -> None:
        self._lock = threading.RLock()
        self._db = sqlite3.connect(folder / FILE, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False)
        (found,) = self._db.execute("PRAGMA user_version").fetchone()
        if found not in (0, FORMAT):
            self._db.close()
            raise NodeConfig(
                f"{folder / FILE} was written by another version of cxr-edge: expected format {FORMAT}, got {found}; "
                "let that version deliver what waits, then set data to another folder for this one"
            )
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = FULL")
        self._db.execute("PRAGMA foreign_keys = ON")
        self._db.executescript(SCHEMA)
        self._clock = NodeClock(self._db.execute(LATEST).fetchone()[0])

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._db.close()

    def now(self) -> float:
        """Return the node's time in seconds; see `NodeClock`."""
        return self._clock.now()

    def keep_time(self) -> None:
        """Record the node's time, so that the next process counts on from it."""
        with self._transaction() as db:
            db.execute("INSERT OR REPLACE INTO clock (id, seconds) VALUES (1, ?)", (self.now(),))

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            if self._db.in_transaction:  # join the transaction of the caller
                yield self._db
                return
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:  # a full disk may have ended it already
                    self._db.execute("ROLLBACK")
                raise

    def _all(self, query: str, *values: object) -> list[tuple]:  # type: ignore[type-arg]
        with self._lock:
            return self._db.execute(query, values).fetchall()

    def _one(self, query: str, *values: object) -> tuple | None:  # type: ignore[type-arg]
        rows = self._all(query, *values)
        return rows[0] if rows else None
