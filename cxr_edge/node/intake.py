"""Intake: an image is checked, compared with known images, stored and queued before it is acknowledged."""

import hashlib
import shutil
import sqlite3
import threading
from collections.abc import Sequence
from contextlib import suppress
from enum import Enum
from pathlib import Path
from typing import Final

from cxr_edge import images
from cxr_edge.errors import InputError
from cxr_edge.images.dicom.header import tags
from cxr_edge.images.dicom.header.parse import parse
from cxr_edge.images.limits import MEBIBYTE, InputLimits
from cxr_edge.node.logs import log, short
from cxr_edge.node.queue import Queue
from cxr_edge.node.records import Identity
from cxr_edge.outputs.dicom.header import fingerprint, identifier_of, is_dicom
from cxr_edge.support.files import PART, place, prepare


class IntakeOutcome(Enum):
    """The outcome of one image."""

    QUEUED = "queued"
    DUPLICATE = "duplicate"
    CORRECTED = "corrected"
    CONFLICT = "conflict"
    MISMATCH = "mismatch"
    UNUSABLE = "unusable"
    UNDELIVERABLE = "undeliverable"
    TOO_LARGE = "too_large"
    NO_SPACE = "no_space"


#: Outcomes of an image that is stored.
_STORED: Final = (None, IntakeOutcome.CORRECTED)


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
    folders : sequence of str
        Names of the destinations that are folders. PNG and JPEG images are accepted only if there are any: DICOM
        destinations receive no results of them.
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
        folders: Sequence[str] = (),
        changed: threading.Condition | None = None,
    ) -> None:
        self._folder, self._queue, self._limits = folder, queue, limits
        self._min_free = min_free_mib * MEBIBYTE
        self._folders = tuple(folders)
        self._changed = changed or threading.Condition()
        self._lock = threading.Lock()

    def take(self, data: bytes, *, expected_uid: str | None = None, source: str | None = None) -> IntakeOutcome:
        """Take an image into the queue; once this returns ``QUEUED`` or ``CORRECTED``, it is on disk and waits there.

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
            encoded = parse(data, self._limits)
            instance = identifier_of(encoded.elements, tags.SOP_INSTANCE_UID)
            study = identifier_of(encoded.elements, tags.STUDY_INSTANCE_UID)  # results refer to it, and to the series
            identifier_of(encoded.elements, tags.SERIES_INSTANCE_UID)
        except InputError as error:
            log.warning("refused an image: %s: %s", error.code, error)
            return IntakeOutcome.UNUSABLE
        if expected_uid is not None and expected_uid != instance:
            return IntakeOutcome.MISMATCH
        name, of_study = (hashlib.sha256(uid.encode()).hexdigest() for uid in (instance, study))
        pixels = hashlib.sha256(encoded.pixels).hexdigest()
        return self._store(Identity(name, pixels, fingerprint(encoded.elements), of_study), data, source)

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
            taken += outcome in (IntakeOutcome.QUEUED, IntakeOutcome.CORRECTED)
            if outcome is not IntakeOutcome.NO_SPACE and self._queue.known_image(path.name) is None:
                path.unlink()
        return taken

    def _take_png_jpeg(self, data: bytes, source: str | None) -> IntakeOutcome:
        if not images.is_png_or_jpeg(data):
            return IntakeOutcome.UNUSABLE
        if not self._folders:
            return IntakeOutcome.UNDELIVERABLE
        name = hashlib.sha256(data).hexdigest()
        return self._store(Identity(name, name, ""), data, source)

    def _store(self, image: Identity, data: bytes, source: str | None) -> IntakeOutcome:
        if (outcome := self._known_outcome(image)) not in _STORED:
            return outcome
        if shutil.disk_usage(self._folder).free < self._min_free + len(data):
            return IntakeOutcome.NO_SPACE
        part = prepare(self._folder, data)
        try:
            with self._lock:
                if (outcome := self._known_outcome(image)) not in _STORED:  # another sender was faster
                    return outcome
                place(part, self._folder / image.name)
                log.debug("stored image %s", short(image.name))
                self._enqueue(image, source, corrected=outcome is IntakeOutcome.CORRECTED)
        finally:
            part.unlink(missing_ok=True)
        log.info("image %s is queued", short(image.name))
        with self._changed:
            self._changed.notify_all()
        return outcome or IntakeOutcome.QUEUED

    def _enqueue(self, image: Identity, source: str | None, *, corrected: bool) -> None:
        try:
            if corrected:
                log.warning("image %s was received before with another header: it is worked on anew", short(image.name))
                self._queue.replace(image, self._folders, source)
            else:
                self._queue.add(image, source)
        except sqlite3.Error:
            if self._queue.known_image(image.name) is None:
                (self._folder / image.name).unlink(missing_ok=True)
            raise

    def _known_outcome(self, image: Identity) -> IntakeOutcome | None:
        """Return the outcome of an image that is known already; None if it is new, or known as a dead letter."""
        known = self._queue.known_image(image.name)
        if known is None or known.dead:
            return None
        if known.identity == image:
            log.info("image %s was received before", short(image.name))
            return IntakeOutcome.DUPLICATE
        if known.identity.pixels == image.pixels:
            return IntakeOutcome.CORRECTED
        log.warning("image %s was received before with other pixels", short(image.name))
        return IntakeOutcome.CONFLICT
