"""The durable queue: images that wait, and results that wait for a destination, in one SQLite file.

Every call is one transaction, flushed before it returns. Which entries are being worked on is known to the running
process alone, so that after a crash everything unfinished waits again.

Waits and ages are counted in seconds of the node's own time (`NodeClock`), which the system's clock does not move.
"""

import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from cxr_edge.node.config import Queue as QueueConfig
from cxr_edge.node.database import Database
from cxr_edge.node.records import Delivery, Identity, KnownImage, QueuedImage, QueuedStudy, QueueEntry, State

#: An entry is due if its time has come, or is further away than any wait: the last process may have got further in
#: time than it could record, and the longest wait may have been another one.
_DUE: Final = "(due <= ?1 OR due > ?1 + ?2)"


class Queue(Database):
    """The queue of one node; safe to call from several threads.

    Parameters
    ----------
    folder : Path
        The node's data folder.
    longest_wait : float
        Seconds that no entry waits longer than.

    Raises
    ------
    NodeConfig
        The file was written by a version of cxr-edge with other tables.
    """

    def __init__(self, folder: Path, longest_wait: float = QueueConfig().longest_wait_seconds) -> None:
        super().__init__(folder)
        self._longest_wait = longest_wait
        #: Id of each image in work → its name.
        self._taken: dict[int, str] = {}
        self._released: set[int] = set()

    # -- images

    def known_image(self, name: str) -> KnownImage | None:
        """Return what is known of an image; None if it is not in the queue."""
        row = self._one("SELECT pixels, header, study, state = 'dead' FROM image WHERE name = ?", name)
        return None if row is None else KnownImage(Identity(name, *map(str, row[:3])), bool(row[3]))

    def add(self, image: Identity, source: str | None = None) -> None:
        """Add an image that is on disk. A dead letter waits again, perhaps with other content."""
        with self._transaction() as db:
            db.execute(
                "INSERT INTO image (name, pixels, header, study, received, arrived, source)"
                " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)"
                " ON CONFLICT (name) DO UPDATE SET pixels = ?2, header = ?3, study = ?4, received = ?5, arrived = ?6,"
                " source = ?7, state = 'waiting', attempts = 0, unfinished = 0, due = 0 WHERE state = 'dead'",
                (image.name, image.pixels, image.header, image.study, time.time(), self.now(), source),
            )

    def replace(self, image: Identity, folders: Sequence[str], source: str | None = None) -> None:
        """Let a known image, whose header was corrected, be worked on anew; its earlier entry becomes ``replaced``.

        Results of the earlier entry that wait are not delivered any more. Those in destinations that are folders are
        withdrawn; what an archive has, it keeps.

        Parameters
        ----------
        image : Identity
        folders : sequence of str
            Destinations that are folders.
        source : str, optional
            See `QueuedImage`.
        """
        marks = ",".join("?" * len(folders))
        with self._transaction() as db:
            (old,) = db.execute("SELECT id FROM image WHERE name = ?", (image.name,)).fetchone()
            db.execute(
                "UPDATE delivery SET withdrawn = 1, state = 'waiting', attempts = 0, due = 0, code = NULL,"  # noqa: S608
                f" message = NULL, ended = NULL WHERE image = ? AND destination IN ({marks})",
                (old, *folders),
            )
            db.execute(
                "UPDATE delivery SET state = 'replaced', ended = ?"
                " WHERE image = ? AND NOT withdrawn AND state != 'sent'",
                (self.now(), old),
            )
            db.execute(
                "UPDATE image SET name = name || '@' || id, state = 'replaced', ended = ? WHERE id = ?",
                (self.now(), old),
            )
            # The result of the study that it was of holds its earlier answer.
            db.execute(
                "UPDATE image SET merged = 0 WHERE state = 'done' AND study = (SELECT study FROM image WHERE id = ?)",
                (old,),
            )
            self.add(image, source)

    def take_image(self) -> QueuedImage | None:
        """Take the image that has waited longest, of those with the fewest attempts.

        The attempt is counted before it is made, so that an image that crashes the process is detected. Such an image,
        or one in work when the process was killed, lets others come first.
        """
        with self._lock:  # `_taken` changes once the attempt is recorded, and not if that fails
            with self._transaction() as db:
                marks = ",".join("?" * len(self._taken))
                row = db.execute(  # by name, since an image may be replaced while it is in work
                    "SELECT id, name, attempts, unfinished, source FROM image WHERE state = 'waiting'"  # noqa: S608
                    f" AND {_DUE} AND name NOT IN ({marks}) ORDER BY attempts + unfinished, id LIMIT 1",
                    (self.now(), self._longest_wait, *self._taken.values()),
                ).fetchone()
                if row is None:
                    return None
                identifier, name, attempts, unfinished, source = row
                again = identifier in self._released
                db.execute("UPDATE image SET unfinished = unfinished + ? WHERE id = ?", (not again, identifier))
            self._taken[identifier] = name
            self._released.discard(identifier)
            return QueuedImage(identifier, name, attempts, unfinished - again, source)

    def finish_image(self, image: QueuedImage, deliveries: Sequence[tuple[str, str]]) -> bool:
        """Record that an image's results are on disk, and the deliveries that wait, as (destination, file).

        Returns
        -------
        bool
            False if the image was replaced meanwhile: its results are then kept for their time, but not delivered.
        """
        now = self.now()
        with self._settling(image) as db:
            done = db.execute(
                "UPDATE image SET state = 'done', unfinished = 0, code = NULL, message = NULL, ended = ?"
                " WHERE id = ? AND state = 'waiting'",
                (now, image.id),
            ).rowcount
            state, ended = ("waiting", None) if done else ("replaced", now)
            db.executemany(
                "INSERT OR IGNORE INTO delivery (image, destination, object, state, ended) VALUES (?, ?, ?, ?, ?)",
                [(image.id, destination, name, state, ended) for destination, name in deliveries],
            )
            if done:
                _keep(db, image.id, deliveries)
        return bool(done)

    def postpone_image(self, image: QueuedImage, code: str, message: str, wait: float, *, counts: bool) -> None:
        """Let an image wait again; the attempt counts if `counts`, which is for failures that may be its fault."""
        with self._settling(image) as db:
            db.execute(
                "UPDATE image SET attempts = ?, unfinished = ? WHERE id = ?",
                (image.attempts + counts, image.unfinished, image.id),
            )
            self._set("image", image.id, "waiting", code, message, wait=wait)

    def mark_image_dead(self, image: QueuedImage, code: str, message: str) -> None:
        """Make an image a dead letter."""
        with self._settling(image):
            self._set("image", image.id, "dead", code, message)

    def release_image(self, image: QueuedImage | None) -> None:
        """Let an image be taken again, as the same attempt, after nothing could be recorded."""
        if image is not None:
            with self._lock:
                self._taken.pop(image.id, None)
                self._released.add(image.id)

    # -- studies

    def due_studies(self, wait: float) -> list[QueuedStudy]:
        """Return the studies with an image that their result lacks, no image that waits, and none that came lately.

        Parameters
        ----------
        wait : float
            Seconds without a new image.
        """
        rows = self._all(
            "SELECT study FROM image WHERE study != '' AND state IN ('waiting', 'done') GROUP BY study"
            " HAVING min(merged) = 0 AND min(state = 'done') = 1 AND max(arrived) <= ?",
            self.now() - wait,
        )
        of_study = "SELECT id, name FROM image WHERE study = ? AND state = 'done' ORDER BY id"
        return [QueuedStudy(study, tuple(self._all(of_study, study))) for (study,) in rows]

    def finish_study(self, study: QueuedStudy, deliveries: Sequence[tuple[str, str]]) -> None:
        """Record that a study's result is on disk, and the deliveries that wait, as (destination, file)."""
        newest = study.images[-1][0]
        with self._transaction() as db:
            db.executemany("UPDATE image SET merged = 1 WHERE id = ?", [(image,) for image, _ in study.images])
            db.executemany(
                "INSERT INTO delivery (image, destination, object) VALUES (?1, ?2, ?3) ON CONFLICT DO UPDATE SET"
                " state = 'waiting', attempts = 0, due = 0, withdrawn = 0",
                [(newest, destination, name) for destination, name in deliveries],
            )
            _keep(db, newest, deliveries)

    # -- deliveries

    def due_deliveries(self, destination: str, most: int) -> list[Delivery]:
        """Return at most `most` results that are due for a destination, the oldest first."""
        rows = self._all(
            "SELECT d.id, d.image, i.name, d.object, d.attempts, i.arrived, d.withdrawn FROM delivery d"  # noqa: S608
            " JOIN image i ON i.id = d.image"
            f" WHERE d.state = 'waiting' AND {_DUE.replace('due', 'd.due')} AND d.destination = ?3"
            " ORDER BY d.id LIMIT ?4",
            self.now(), self._longest_wait, destination, most,
        )  # fmt: skip
        return [Delivery(*row) for row in rows]

    def is_waiting(self, delivery: Delivery) -> bool:
        """Return whether a delivery still waits: its image may have been replaced since it was read."""
        query = "SELECT 1 FROM delivery WHERE id = ? AND state = 'waiting' AND withdrawn = ?"
        return self._one(query, delivery.id, delivery.withdrawn) is not None

    def mark_delivery_sent(self, delivery: Delivery) -> bool:
        """Record that a destination has an object, or has it no longer if it was withdrawn.

        Returns
        -------
        bool
            Whether it was the last of its image for that destination.
        """
        with self._transaction() as db:
            db.execute(
                "UPDATE delivery SET state = ?, code = NULL, message = NULL, ended = ? WHERE id = ? AND withdrawn = ?",
                ("replaced" if delivery.withdrawn else "sent", self.now(), delivery.id, delivery.withdrawn),
            )
            left = db.execute(
                "SELECT 1 FROM delivery WHERE image = ? AND state NOT IN ('sent', 'replaced')"
                " AND destination = (SELECT destination FROM delivery WHERE id = ?) LIMIT 1",
                (delivery.image, delivery.id),
            ).fetchone()
        return left is None

    def postpone_delivery(self, delivery: Delivery, code: str, message: str, wait: float) -> None:
        """Let an object that a destination refused wait again."""
        with self._transaction() as db:
            if self.is_waiting(delivery):
                db.execute("UPDATE delivery SET attempts = attempts + 1 WHERE id = ?", (delivery.id,))
                self._set("delivery", delivery.id, "waiting", code, message, wait=wait)

    def defer_delivery(self, delivery: Delivery, message: str, wait: float) -> None:
        """Let an object wait so that others come first; the failure to send it does not count as an attempt."""
        with self._transaction():
            if self.is_waiting(delivery):
                self._set("delivery", delivery.id, "waiting", "unreachable", message, wait=wait)

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
        with self._transaction():
            if self.is_waiting(delivery):
                self._set("delivery", delivery.id, "dead", code, message)

    def mark_orphaned_dead(self, destinations: Sequence[str]) -> int:
        """Make dead letters of results that wait for any destination but these; return their number."""
        marks = ",".join("?" * len(destinations))
        with self._transaction() as db:
            done = db.execute(
                "UPDATE delivery SET state = 'dead', code = 'no_destination',"  # noqa: S608
                " message = 'no such destination is configured',"
                f" ended = ? WHERE state = 'waiting' AND destination NOT IN ({marks})",
                (self.now(), *destinations),
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
            In the node's time. Images whose results were all delivered by then are forgotten …
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
            objects = {
                row[0]
                for image, _ in old
                for row in db.execute("SELECT DISTINCT object FROM delivery WHERE image = ?", (image,))
            }
            db.executemany("DELETE FROM image WHERE id = ?", [(image,) for image, _ in old])
            still = "SELECT 1 FROM delivery WHERE object = ? LIMIT 1"  # of an image that replaced the forgotten one
            unused = [name for name in sorted(objects) if db.execute(still, (name,)).fetchone() is None]
        return [name for _, name in old], unused

    def counts(self) -> dict[str, int]:
        """Return the number of images and deliveries in each state, by keys such as ``image-waiting``."""
        found = {f"image-{state}": 0 for state in ("waiting", "done", "dead")}
        found |= {f"delivery-{state}": 0 for state in ("waiting", "sent", "dead")}
        for table in ("image", "delivery"):
            for state, number in self._all(f"SELECT state, count(*) FROM {table} GROUP BY state"):  # noqa: S608
                found[f"{table}-{state}"] = number
        return found

    def oldest_waiting(self) -> float | None:
        """Return when the oldest unfinished image was received, in the node's time; None if there is none."""
        row = self._one(
            "SELECT min(arrived) FROM image i WHERE state = 'waiting' OR EXISTS"
            " (SELECT 1 FROM delivery d WHERE d.image = i.id AND d.state = 'waiting')"
        )
        return None if row is None else row[0]

    def entries(self, state: State | None = None, most: int = 1000) -> list[QueueEntry]:
        """List images and deliveries, the oldest first; those of one state, if `state` is given."""
        rows = self._all(
            "SELECT entry, name, destination, object, state, attempts, code, message, received FROM ("
            " SELECT 'image-' || id AS entry, name, NULL AS destination, NULL AS object, state,"
            "  attempts + unfinished AS attempts, code, message, received, arrived FROM image"
            " UNION ALL SELECT 'delivery-' || d.id, i.name, destination, object, d.state, d.attempts, d.code,"
            "  d.message, received, arrived FROM delivery d JOIN image i ON i.id = d.image)"
            " WHERE ?1 IS NULL OR state = ?1 ORDER BY arrived LIMIT ?2",
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

    def _set(self, table: str, identifier: int, state: State, code: str, message: str, *, wait: float = 0) -> None:
        """Record a failure, unless the entry was replaced meanwhile."""
        now = self.now()
        with self._transaction() as db:
            db.execute(
                f"UPDATE {table} SET state = ?, code = ?, message = ?, due = ?, ended = ?"  # noqa: S608
                " WHERE id = ? AND state != 'replaced'",
                (state, code, message, now + wait, now if state == "dead" else None, identifier),
            )

    @contextmanager
    def _settling(self, image: QueuedImage) -> Iterator[sqlite3.Connection]:
        """Record what became of an image, and then release it from its worker."""
        with self._lock:
            with self._transaction() as db:
                yield db
            self._taken.pop(image.id, None)


def _keep(db: sqlite3.Connection, image: int, deliveries: Sequence[tuple[str, str]]) -> None:
    """Forget earlier withdrawals of what is written anew under the same name."""
    db.executemany(
        "DELETE FROM delivery WHERE withdrawn AND image != ? AND destination = ? AND object = ?",
        [(image, destination, name) for destination, name in deliveries],
    )
