"""Intake: an image is checked, compared with known images, stored and queued before it is acknowledged."""

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

#: Attributes that distinguish two images of one SOP Instance UID, besides their pixels.
_IDENTIFYING: Final = (0x00100020, tags.STUDY_INSTANCE_UID, tags.SERIES_INSTANCE_UID)


class IntakeOutcome(Enum):
    """The outcome of one image."""

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
        Folder of the stored images.
    queue : Queue
    limits : InputLimits
    min_free_mib : int
        Disk space that must stay free.
    png_jpeg : bool
        Whether PNG and JPEG images are accepted: DICOM destinations receive no results of them.
    changed : threading.Condition, optional
        Notified of each queued image.
    """

    def __init__(
        self,
        folder: Path,
        queue: Queue,
        limits: InputLimits,
        *,
        min_free_mib: int = 0,
        png_jpeg: bool = True,
        changed: threading.Condition | None = None,
    ) -> None:
        self._folder, self._queue, self._limits = folder, queue, limits
        self._min_free = min_free_mib * MEBIBYTE
        self._png_jpeg = png_jpeg
        self._changed = changed or threading.Condition()
        self._lock = threading.Lock()

    def take(self, data: bytes, *, expected_uid: str | None = None, source: str | None = None) -> IntakeOutcome:
        """Take an image into the queue; once this returns ``QUEUED``, it is on disk and will be worked on.

        Parameters
        ----------
        data : bytes
            A DICOM, PNG or JPEG file.
        expected_uid : str, optional
            The SOP Instance UID that its sender named.
        source : str, optional
            Name of its file.

        Raises
        ------
        OSError, sqlite3.Error
            The disk is full or broken; nothing is left behind.
        """
        if len(data) > self._limits.max_file_bytes:
            return IntakeOutcome.TOO_LARGE
        if not is_dicom(data):
            return self._take_png_jpeg(data, source)
        try:
            encoded = parse(data, self._limits, (*tags.WANTED, *_IDENTIFYING))
            instance = uid_of(encoded.elements, tags.SOP_INSTANCE_UID)
            for tag in (tags.STUDY_INSTANCE_UID, tags.SERIES_INSTANCE_UID):  # results refer to them
                uid_of(encoded.elements, tag)
        except InputError as error:
            log.warning("refused an image: %s: %s", error.code, error)
            return IntakeOutcome.UNUSABLE
        if expected_uid is not None and expected_uid != instance:
            return IntakeOutcome.MISMATCH
        identifying = "\\".join(encoded.elements.text(tag) for tag in _IDENTIFYING)
        digest = hashlib.sha256(identifying.encode())
        digest.update(encoded.pixels)
        return self._store(hashlib.sha256(instance.encode()).hexdigest(), digest.hexdigest(), data, source)

    def forget(self, results: Path, before: float, dead_before: float) -> int:
        """Forget finished images, and remove their files and those of their results; return the number of images.

        Parameters
        ----------
        results : Path
            Folder of the stored results.
        before, dead_before : float
            See `Queue.forget`.
        """
        with self._lock:  # an image that is sent again meanwhile must not lose its files
            names, objects = self._queue.forget(before, dead_before)
            for path in [*(self._folder / name for name in names), *(results / name for name in objects)]:
                with suppress(OSError):  # the next start removes what is left
                    path.unlink(missing_ok=True)
        return len(names)

    def recover(self) -> int:
        """Take stored images that are not in the queue: after an interruption, or after the queue was lost.

        Returns
        -------
        int
            Number of images taken. Other files are removed: they were never acknowledged.
        """
        known = set(self._queue.images())
        taken = 0
        for path in [path for path in self._folder.iterdir() if path.is_file() and path.name not in known]:
            outcome = None if path.name.endswith(PART) else self.take(path.read_bytes())
            taken += outcome is IntakeOutcome.QUEUED
            if outcome is not IntakeOutcome.NO_SPACE and self._queue.known_image(path.name) is None:
                path.unlink()
        return taken

    def _take_png_jpeg(self, data: bytes, source: str | None) -> IntakeOutcome:
        if not images.is_png_or_jpeg(data):
            return IntakeOutcome.UNUSABLE
        if not self._png_jpeg:
            return IntakeOutcome.UNDELIVERABLE
        name = hashlib.sha256(data).hexdigest()
        return self._store(name, name, data, source)

    def _store(self, name: str, identity: str, data: bytes, source: str | None) -> IntakeOutcome:
        if (outcome := self._known_outcome(name, identity)) is not None:
            return outcome
        if shutil.disk_usage(self._folder).free < self._min_free + len(data):
            return IntakeOutcome.NO_SPACE
        part = prepare(self._folder, data)
        try:
            with self._lock:
                if (outcome := self._known_outcome(name, identity)) is not None:  # another sender was faster
                    return outcome
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
            if self._queue.known_image(name) is None:
                (self._folder / name).unlink(missing_ok=True)
            raise

    def _known_outcome(self, name: str, identity: str) -> IntakeOutcome | None:
        """Return the outcome of an image that is known already; None if it is new, or known as a dead letter."""
        known = self._queue.known_image(name)
        if known is None or known.dead:
            return None
        if known.identity == identity:
            log.info("image %s was received before", short(name))
            return IntakeOutcome.DUPLICATE
        log.warning("image %s was received before with other pixels, or another patient, study or series", short(name))
        return IntakeOutcome.CONFLICT
