"""A film comes in: checked, compared with what is known, stored and queued before it is answered for."""

import hashlib
import shutil
import sqlite3
import threading
from contextlib import suppress
from enum import Enum
from pathlib import Path
from typing import Final

from cxr_edge import images
from cxr_edge.errors import InputError
from cxr_edge.images.dicom import tags
from cxr_edge.images.dicom.parse import parse
from cxr_edge.images.limits import MEBIBYTE, Reading
from cxr_edge.node.logs import log, short
from cxr_edge.node.queue import Queue
from cxr_edge.outputs.dicom.header import is_dicom, uid_of
from cxr_edge.support.files import PART, place, prepare

#: What tells two films of one UID apart, their pixels aside.
_IDENTIFYING: Final = (0x00100020, tags.STUDY_INSTANCE_UID, tags.SERIES_INSTANCE_UID)


class Admitted(Enum):
    """What became of a film."""

    QUEUED = "queued"
    DUPLICATE = "duplicate"
    CONFLICT = "conflict"
    MISMATCH = "mismatch"
    UNUSABLE = "unusable"
    UNDELIVERABLE = "undeliverable"
    TOO_LARGE = "too_large"
    NO_SPACE = "no_space"


class Admission:
    """Takes films into the queue; safe to call from several threads.

    Parameters
    ----------
    folder : Path
        Where films are kept.
    queue : Queue
    reading : Reading
    min_free_mib : int
        Space that must be left.
    pictures : bool
        Whether PNG and JPEG have anywhere to go: archives take none.
    news : threading.Condition, optional
        Told of a film.
    """

    def __init__(
        self,
        folder: Path,
        queue: Queue,
        reading: Reading,
        *,
        min_free_mib: int = 0,
        pictures: bool = True,
        news: threading.Condition | None = None,
    ) -> None:
        self._folder, self._queue, self._reading = folder, queue, reading
        self._min_free = min_free_mib * MEBIBYTE
        self._pictures = pictures
        self._news = news or threading.Condition()
        self._lock = threading.Lock()

    def admit(self, data: bytes, *, told: str | None = None, source: str | None = None) -> Admitted:
        """Take a film; once this returns ``QUEUED``, it is on disk and will be worked on.

        Parameters
        ----------
        data : bytes
            A DICOM file; or a picture, which is known by its content.
        told : str, optional
            The SOP Instance UID that its sender named.
        source : str, optional
            Name of its file.

        Raises
        ------
        OSError, sqlite3.Error
            The disk is full or broken; nothing is left behind.
        """
        if len(data) > self._reading.max_file_bytes:
            return Admitted.TOO_LARGE
        if not is_dicom(data):
            return self._admit_picture(data, source)
        try:
            encoded = parse(data, self._reading, (*tags.WANTED, *_IDENTIFYING))
            instance = uid_of(encoded.elements, tags.SOP_INSTANCE_UID)
            for tag in (tags.STUDY_INSTANCE_UID, tags.SERIES_INSTANCE_UID):  # which results refer to
                uid_of(encoded.elements, tag)
        except InputError as error:
            log.warning("refused a film: %s: %s", error.code, error)
            return Admitted.UNUSABLE
        if told is not None and told != instance:
            return Admitted.MISMATCH
        identifying = "\\".join(encoded.elements.text(tag) for tag in _IDENTIFYING)
        digest = hashlib.sha256(identifying.encode())
        digest.update(encoded.pixels)
        return self._store(hashlib.sha256(instance.encode()).hexdigest(), digest.hexdigest(), data, source)

    def forget(self, results: Path, before: float, dead_before: float) -> int:
        """Forget films that are through, and remove their files and those of their results; give their number.

        Parameters
        ----------
        results : Path
            Folder of results.
        before, dead_before : float
            See `Queue.forget`.
        """
        with self._lock:  # a film that is sent anew meanwhile must not lose its files
            names, objects = self._queue.forget(before, dead_before)
            for path in [*(self._folder / name for name in names), *(results / name for name in objects)]:
                with suppress(OSError):  # the next start looks for what is left
                    path.unlink(missing_ok=True)
        return len(names)

    def recover(self) -> int:
        """Take what lies in the folder and is not in the queue: stored before an interruption, or of a lost queue.

        Returns
        -------
        int
            Films that were taken. What is no film is removed: it was never answered for.
        """
        known = set(self._queue.films())
        taken = 0
        for path in [path for path in self._folder.iterdir() if path.is_file() and path.name not in known]:
            admitted = None if path.name.endswith(PART) else self.admit(path.read_bytes())
            taken += admitted is Admitted.QUEUED
            if admitted is not Admitted.NO_SPACE and self._queue.known(path.name) is None:
                path.unlink()
        return taken

    def _admit_picture(self, data: bytes, source: str | None) -> Admitted:
        if not images.is_picture(data):
            return Admitted.UNUSABLE
        if not self._pictures:
            return Admitted.UNDELIVERABLE
        name = hashlib.sha256(data).hexdigest()
        return self._store(name, name, data, source)

    def _store(self, name: str, identity: str, data: bytes, source: str | None) -> Admitted:
        if (answer := self._answer(name, identity)) is not None:
            return answer
        if shutil.disk_usage(self._folder).free < self._min_free + len(data):
            return Admitted.NO_SPACE
        part = prepare(self._folder, data)
        try:
            with self._lock:
                if (answer := self._answer(name, identity)) is not None:  # another sender was faster
                    return answer
                place(part, self._folder / name)
                log.debug("stored film %s", short(name))
                self._add(name, identity, source)
        finally:
            part.unlink(missing_ok=True)
        log.info("film %s is queued", short(name))
        with self._news:
            self._news.notify_all()
        return Admitted.QUEUED

    def _add(self, name: str, identity: str, source: str | None) -> None:
        try:
            self._queue.add(name, identity, source)
        except sqlite3.Error:
            if self._queue.known(name) is None:
                (self._folder / name).unlink(missing_ok=True)
            raise

    def _answer(self, name: str, identity: str) -> Admitted | None:
        """Say what becomes of a film that is known; None if it is new, or anew what was a dead letter."""
        known = self._queue.known(name)
        if known is None or known.dead:
            return None
        if known.identity == identity:
            log.info("film %s came again; it is known", short(name))
            return Admitted.DUPLICATE
        log.warning("film %s is known with other pixels, or another patient, study or series", short(name))
        return Admitted.CONFLICT
