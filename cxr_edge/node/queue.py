"""The durable queue: images that wait, and results that wait for a destination, in one SQLite file.

Every call is one transaction, flushed before it returns. Which entries are being worked on is known to the running
process alone, so that after a crash everything unfinished waits again.
"""

import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from cxr_edge.errors import NodeConfig
from cxr_edge.node.records import Delivery, KnownImage, QueuedImage, QueueEntry, State

FILE: Final = "queue.sqlite"
#: An entry is due if its time has come, or if the clock was set back: no wait is longer than a day.
_DUE: Final = "(due <= ?1 OR due > ?1 + 86400)"
#: Another process may lock the file for a moment, as ``cxr-edge node queue`` does.
_BUSY_SECONDS: Final = 30.0
#: Version of the tables below, stored in the file; 0 is a file without tables.
FORMAT: Final = 1
_SCHEMA: Final = f"""
PRAGMA user_version = {FORMAT};
CREATE TABLE IF NOT EXISTS image (
    id INTEGER PRIMARY KEY AUTOINCREMENT,   -- the id of a queue entry is never used again
    name TEXT NOT NULL UNIQUE,          -- SHA-256 of the SOP Instance UID, or of a PNG or JPEG file
    identity TEXT NOT NULL,             -- SHA-256 of pixels, patient, study and series, or as name
    source TEXT,                        -- path of its file in the watched folder
    state TEXT NOT NULL DEFAULT 'waiting',   -- waiting, done, dead
    attempts INTEGER NOT NULL DEFAULT 0,    -- that failed
    unfinished INTEGER NOT NULL DEFAULT 0,  -- attempts during which the process ended
    due REAL NOT NULL DEFAULT 0,        -- seconds since the epoch
    code TEXT, message TEXT,            -- of the last failure
    received REAL NOT NULL,
    ended REAL                          -- when it was done, or became a dead letter
);
CREATE INDEX IF NOT EXISTS image_waiting ON image (state, due, id);
CREATE TABLE IF NOT EXISTS delivery (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    image INTEGER NOT NULL REFERENCES image (id) ON DELETE CASCADE,
    destination TEXT NOT NULL,
    object TEXT NOT NULL,               -- its file in the folder of results
    state TEXT NOT NULL DEFAULT 'waiting',   -- waiting, sent, dead
    attempts INTEGER NOT NULL DEFAULT 0,
    due REAL NOT NULL DEFAULT 0,
    code TEXT, message TEXT,
    ended REAL,                         -- when it was sent, or became a dead letter
    UNIQUE (image, destination, object)
);
CREATE INDEX IF NOT EXISTS delivery_waiting ON delivery (state, destination, due, id);
CREATE INDEX IF NOT EXISTS delivery_destination ON delivery (destination, id);
"""


class Queue:
    """The queue of one node; safe to call from several threads.

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
        self._db.executescript(_SCHEMA)
        self._taken: set[int] = set()
        self._released: set[int] = set()

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._db.close()

    # -- images

    def known_image(self, name: str) -> KnownImage | None:
        """Return what is known of an image; None if it is not in the queue."""
        row = self._one("SELECT identity, state = 'dead' FROM image WHERE name = ?", name)
        return None if row is None else KnownImage(str(row[0]), bool(row[1]))

    def add(self, name: str, identity: str, source: str | None = None) -> None:
        """Add an image that is on disk. A dead letter waits again, perhaps with other content."""
        with self._transaction() as db:
            db.execute(
                "INSERT INTO image (name, identity, received, source) VALUES (?1, ?2, ?3, ?4)"
                " ON CONFLICT (name) DO UPDATE SET identity = ?2, received = ?3, source = ?4,"
                " state = 'waiting', attempts = 0, unfinished = 0, due = 0 WHERE state = 'dead'",
                (name, identity, time.time(), source),
            )

    def take_image(self) -> QueuedImage | None:
        """Take the image that has waited longest, of those with the fewest attempts.

        The attempt is counted before it is made, so that an image that crashes the process is detected. Such an image,
        or one in work when the process was killed, lets others come first.
        """
        with self._lock:  # `_taken` changes once the attempt is recorded, and not if that fails
            with self._transaction() as db:
                marks = ",".join("?" * len(self._taken))
                row = db.execute(
                    "SELECT id, name, attempts, unfinished, source FROM image WHERE state = 'waiting'"  # noqa: S608
                    f" AND {_DUE} AND id NOT IN ({marks}) ORDER BY attempts + unfinished, id LIMIT 1",
                    (time.time(), *self._taken),
                ).fetchone()
                if row is None:
                    return None
                identifier, name, attempts, unfinished, source = row
                again = identifier in self._released
                db.execute("UPDATE image SET unfinished = unfinished + ? WHERE id = ?", (not again, identifier))
            self._taken.add(identifier)
            self._released.discard(identifier)
            return QueuedImage(identifier, name, attempts, unfinished - again, source)

    def finish_image(self, image: QueuedImage, deliveries: Sequence[tuple[str, str]]) -> None:
        """Record that an image's results are on disk, and the deliveries that wait, as (destination, file)."""
        with self._settling(image) as db:
            db.executemany(
                "INSERT OR IGNORE INTO delivery (image, destination, object) VALUES (?, ?, ?)",
                [(image.id, destination, name) for destination, name in deliveries],
            )
            db.execute(
                "UPDATE image SET state = 'done', unfinished = 0, code = NULL, message = NULL, ended = ? WHERE id = ?",
                (time.time(), image.id),
            )

    def postpone_image(self, image: QueuedImage, code: str, message: str, wait: float, *, counts: bool) -> None:
        """Let an image wait again; the attempt counts if `counts`, which is for failures that may be its fault."""
        with self._settling(image) as db:
            db.execute(
                "UPDATE image SET attempts = ?, unfinished = ? WHERE id = ?",
                (image.attempts + counts, image.unfinished, image.id),
            )
            self._set("image", image.id, "waiting", code, message, due=time.time() + wait)

    def mark_image_dead(self, image: QueuedImage, code: str, message: str) -> None:
        """Make an image a dead letter."""
        with self._settling(image):
            self._set("image", image.id, "dead", code, message)

    def release_image(self, image: QueuedImage | None) -> None:
        """Let an image be taken again, as the same attempt, after nothing could be recorded."""
        if image is not None:
            with self._lock:
                self._taken.discard(image.id)
                self._released.add(image.id)

    # -- deliveries

    def due_deliveries(self, destination: str, most: int) -> list[Delivery]:
        """Return at most `most` results that are due for a destination, the oldest first."""
        rows = self._all(
            "SELECT d.id, d.image, i.name, d.object, d.attempts, i.received FROM delivery d"  # noqa: S608 - ours
            " JOIN image i ON i.id = d.image"
            f" WHERE d.state = 'waiting' AND {_DUE.replace('due', 'd.due')} AND d.destination = ?2"
            " ORDER BY d.id LIMIT ?3",
            time.time(), destination, most,
        )  # fmt: skip
        return [Delivery(*row) for row in rows]

    def mark_delivery_sent(self, delivery: Delivery) -> bool:
        """Record that a destination has an object; return whether it was the last of its image for that destination."""
        with self._transaction() as db:
            db.execute(
                "UPDATE delivery SET state = 'sent', code = NULL, message = NULL, ended = ? WHERE id = ?",
                (time.time(), delivery.id),
            )
            left = db.execute(
                "SELECT 1 FROM delivery WHERE image = ? AND state != 'sent'"
                " AND destination = (SELECT destination FROM delivery WHERE id = ?) LIMIT 1",
                (delivery.image, delivery.id),
            ).fetchone()
        return left is None

    def postpone_delivery(self, delivery: Delivery, code: str, message: str, wait: float) -> None:
        """Let an object that a destination refused wait again."""
        with self._transaction() as db:
            db.execute("UPDATE delivery SET attempts = attempts + 1 WHERE id = ?", (delivery.id,))
            self._set("delivery", delivery.id, "waiting", code, message, due=time.time() + wait)

    def defer_delivery(self, delivery: Delivery, message: str, wait: float) -> None:
        """Let an object wait so that others come first; the failure to send it does not count as an attempt."""
        self._set("delivery", delivery.id, "waiting", "unreachable", message, due=time.time() + wait)

    def newest_delivery(self, destination: str) -> int:
        """Return the id of the newest delivery for a destination; 0 if there is none."""
        row = self._one("SELECT max(id) FROM delivery WHERE destination = ?", destination)
        return int(row[0] or 0) if row else 0

    def waiting_by_destination(self) -> dict[str, int]:
        """Return how many results wait for each destination; those with none are left out."""
        return dict(
            self._all("SELECT destination, count(*) FROM delivery WHERE state = 'waiting' GROUP BY destination")
        )

    def mark_delivery_dead(self, delivery: Delivery, code: str, message: str) -> None:
        """Make an object a dead letter."""
        self._set("delivery", delivery.id, "dead", code, message)

    def mark_orphaned_dead(self, destinations: Sequence[str]) -> int:
        """Make dead letters of results that wait for any destination but these; return their number."""
        marks = ",".join("?" * len(destinations))
        with self._transaction() as db:
            done = db.execute(
                "UPDATE delivery SET state = 'dead', code = 'no_destination',"  # noqa: S608
                " message = 'no such destination is configured',"
                f" ended = ? WHERE state = 'waiting' AND destination NOT IN ({marks})",
                (time.time(), *destinations),
            )
        return done.rowcount

    # -- upkeep

    def images(self) -> Iterator[str]:
        """Return the names of all images."""
        return (row[0] for row in self._all("SELECT name FROM image"))

    def objects(self) -> Iterator[str]:
        """Return the files of all known results."""
        return (row[0] for row in self._all("SELECT DISTINCT object FROM delivery"))

    def forget(self, before: float, dead_before: float) -> tuple[list[str], list[str]]:
        """Forget finished images; return their names and their results' files.

        Parameters
        ----------
        before : float
            Seconds since the epoch. Images whose results were all delivered by then are forgotten …
        dead_before : float
            … and so are images with a dead letter and nothing that waits, whose last entry ended by then.
        """
        with self._transaction() as db:
            old = db.execute(
                "SELECT id, name FROM (SELECT i.id, i.name, max(i.ended, coalesce(max(d.ended), 0)) AS ended,"
                "  i.state = 'dead' OR coalesce(max(d.state = 'dead'), 0) AS dead,"
                "  i.state = 'waiting' OR coalesce(max(d.state = 'waiting'), 0) AS waits"
                "  FROM image i LEFT JOIN delivery d ON d.image = i.id GROUP BY i.id)"
                " WHERE NOT waits AND ended < CASE WHEN dead THEN ?2 ELSE ?1 END",
                (before, dead_before),
            ).fetchall()
            objects = [
                row[0]
                for image, _ in old
                for row in db.execute("SELECT DISTINCT object FROM delivery WHERE image = ?", (image,))
            ]
            db.executemany("DELETE FROM image WHERE id = ?", [(image,) for image, _ in old])
        return [name for _, name in old], objects

    def counts(self) -> dict[str, int]:
        """Return the number of images and deliveries in each state, by keys such as ``image-waiting``."""
        found = {f"image-{state}": 0 for state in ("waiting", "done", "dead")}
        found |= {f"delivery-{state}": 0 for state in ("waiting", "sent", "dead")}
        for table in ("image", "delivery"):
            for state, number in self._all(f"SELECT state, count(*) FROM {table} GROUP BY state"):  # noqa: S608
                found[f"{table}-{state}"] = number
        return found

    def oldest_waiting(self) -> float | None:
        """Return when the oldest unfinished image was received, in seconds since the epoch; None if there is none."""
        row = self._one(
            "SELECT min(received) FROM image i WHERE state = 'waiting' OR EXISTS"
            " (SELECT 1 FROM delivery d WHERE d.image = i.id AND d.state = 'waiting')"
        )
        return None if row is None else row[0]

    def entries(self, state: State | None = None, most: int = 1000) -> list[QueueEntry]:
        """List images and deliveries, the oldest first; those of one state, if `state` is given."""
        rows = self._all(
            "SELECT * FROM (SELECT 'image-' || id, name, NULL, NULL, state AS state, attempts + unfinished, code,"
            " message, received FROM image UNION ALL SELECT 'delivery-' || d.id, i.name, destination, object, d.state,"
            " d.attempts, d.code, d.message, received FROM delivery d JOIN image i ON i.id = d.image)"
            " WHERE ?1 IS NULL OR state = ?1 ORDER BY received LIMIT ?2",
            state, most,
        )  # fmt: skip
        return [QueueEntry(*row) for row in rows]

    def replay(self, identifiers: Sequence[str] | None, destinations: Sequence[str]) -> int:
        """Let dead letters wait again; return their number.

        Parameters
        ----------
        identifiers : sequence of str or None
            Ids of queue entries; None for all.
        destinations : sequence of str
            Configured destinations; dead letters for any other stay as they are.
        """
        with self._transaction() as db:
            dead = db.execute(
                "SELECT 'image', id, NULL FROM image WHERE state = 'dead'"
                " UNION ALL SELECT 'delivery', id, destination FROM delivery WHERE state = 'dead'"
            ).fetchall()
            chosen = [
                (table, number)
                for table, number, destination in dead
                if (destination is None or destination in destinations)
                and (identifiers is None or f"{table}-{number}" in identifiers)
            ]
            for table, number in chosen:
                fresh = "attempts = 0, unfinished = 0" if table == "image" else "attempts = 0"
                db.execute(f"UPDATE {table} SET state = 'waiting', {fresh}, due = 0 WHERE id = ?", (number,))  # noqa: S608
        return len(chosen)

    def _set(self, table: str, identifier: int, state: State, code: str, message: str, *, due: float = 0) -> None:
        with self._transaction() as db:
            db.execute(
                f"UPDATE {table} SET state = ?, code = ?, message = ?, due = ?, ended = ? WHERE id = ?",  # noqa: S608
                (state, code, message, due, time.time() if state == "dead" else None, identifier),
            )

    @contextmanager
    def _settling(self, image: QueuedImage) -> Iterator[sqlite3.Connection]:
        """Record what became of an image, and then release it from its worker."""
        with self._lock:
            with self._transaction() as db:
                yield db
            self._taken.discard(image.id)

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
