"""An image comes in: checked, compared with what is known, stored and queued before it is answered for."""

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
from cxr_edge.images.limits import MEBIBYTE, InputLimits
from cxr_edge.node.logs import log, short
from cxr_edge.node.queue import Queue
from cxr_edge.outputs.dicom.header import is_dicom, uid_of
from cxr_edge.support.files import PART, place, prepare

#: What tells two images of one UID apart, their pixels aside.
_IDENTIFYING: Final = (0x00100020, tags.STUDY_INSTANCE_UID, tags.SERIES_INSTANCE_UID)


class IntakeOutcome(Enum):
    """What became of an image."""

    QUEUED = "queued"
    DUPLICATE = "duplicate"
    CONFLICT = "conflict"
    MISMATCH = "mismatch"
    UNUSABLE = "unusable"
    UNDELIVERABLE = "undeliverable"
    TOO_LARGE = "too_large"
    NO_SPACE = "no_space"


class Intake:
    """Takes images into the queue; safe to call from several threads.

    Parameters
    ----------
    folder : Path
        Where images are kept.
    queue : Queue
    limits : InputLimits
    min_free_mib : int
        Space that must be left.
    pictures : bool
        Whether PNG and JPEG have anywhere to go: archives take none.
    changed : threading.Condition, optional
        Told of an image.
    """

    def __init__(
        self,
        folder: Path,
        queue: Queue,
        limits: InputLimits,
        *,
        min_free_mib: int = 0,
        pictures: bool = True,
        changed: threading.Condition | None = None,
    ) -> None:
        self._folder, self._queue, self._reading = folder, queue, limits
        self._min_free = min_free_mib * MEBIBYTE
        self._pictures = pictures
        self._changed = changed or threading.Condition()
        self._lock = threading.Lock()

    def take(self, data: bytes, *, told: str | None = None, source: str | None = None) -> IntakeOutcome:
        """Take an image; once this returns ``QUEUED``, it is on disk and will be worked on.

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
            return IntakeOutcome.TOO_LARGE
        if not is_dicom(data):
            return self._take_picture(data, source)
        try:
            encoded = parse(data, self._reading, (*tags.WANTED, *_IDENTIFYING))
            instance = uid_of(encoded.elements, tags.SOP_INSTANCE_UID)
            for tag in (tags.STUDY_INSTANCE_UID, tags.SERIES_INSTANCE_UID):  # which results refer to
                uid_of(encoded.elements, tag)
        except InputError as error:
            log.warning("refused an image: %s: %s", error.code, error)
            return IntakeOutcome.UNUSABLE
        if told is not None and told != instance:
            return IntakeOutcome.MISMATCH
        identifying = "\\".join(encoded.elements.text(tag) for tag in _IDENTIFYING)
        digest = hashlib.sha256(identifying.encode())
        digest.update(encoded.pixels)
        return self._store(hashlib.sha256(instance.encode()).hexdigest(), digest.hexdigest(), data, source)

    def forget(self, results: Path, before: float, dead_before: float) -> int:
        """Forget images that are through, and remove their files and those of their results; give their number.

        Parameters
        ----------
        results : Path
            Folder of results.
        before, dead_before : float
            See `Queue.forget`.
        """
        with self._lock:  # an image that is sent anew meanwhile must not lose its files
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
            Images that were taken. What is no image is removed: it was never answered for.
        """
        known = set(self._queue.images())
        taken = 0
        for path in [path for path in self._folder.iterdir() if path.is_file() and path.name not in known]:
            outcome = None if path.name.endswith(PART) else self.take(path.read_bytes())
            taken += outcome is IntakeOutcome.QUEUED
            if outcome is not IntakeOutcome.NO_SPACE and self._queue.known(path.name) is None:
                path.unlink()
        return taken

    def _take_picture(self, data: bytes, source: str | None) -> IntakeOutcome:
        if not images.is_picture(data):
            return IntakeOutcome.UNUSABLE
        if not self._pictures:
            return IntakeOutcome.UNDELIVERABLE
        name = hashlib.sha256(data).hexdigest()
        return self._store(name, name, data, source)

    def _store(self, name: str, identity: str, data: bytes, source: str | None) -> IntakeOutcome:
        if (answer := self._answer(name, identity)) is not None:
            return answer
        if shutil.disk_usage(self._folder).free < self._min_free + len(data):
            return IntakeOutcome.NO_SPACE
        part = prepare(self._folder, data)
        try:
            with self._lock:
                if (answer := self._answer(name, identity)) is not None:  # another sender was faster
                    return answer
                place(part, self._folder / name)
                log.debug("stored image %s", short(name))
                self._add(name, identity, source)
        finally:
            part.unlink(missing_ok=True)
        log.info("image %s is queued", short(name))
        with self._changed:
            self._changed.notify_all()
        return IntakeOutcome.QUEUED

    def _add(self, name: str, identity: str, source: str | None) -> None:
        try:
            self._queue.add(name, identity, source)
        except sqlite3.Error:
            if self._queue.known(name) is None:
                (self._folder / name).unlink(missing_ok=True)
            raise

    def _answer(self, name: str, identity: str) -> IntakeOutcome | None:
        """Say what becomes of an image that is known; None if it is new, or anew what was a dead letter."""
        known = self._queue.known(name)
        if known is None or known.dead:
            return None
        if known.identity == identity:
            log.info("image %s came again; it is known", short(name))
            return IntakeOutcome.DUPLICATE
        log.warning("image %s is known with other pixels, or another patient, study or series", short(name))
        return IntakeOutcome.CONFLICT
