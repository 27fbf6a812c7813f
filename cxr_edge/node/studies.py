"""Studies: once no further image comes, the results of a study's images are merged into one, for folders."""

import sqlite3
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from cxr_edge.errors import InputError
from cxr_edge.images.dicom.header import tags
from cxr_edge.images.dicom.header.chest import view_of
from cxr_edge.images.dicom.header.parse import parse
from cxr_edge.model.model import Model
from cxr_edge.model.record import ResultRecord, StudyImageRecord, StudyRecord, decode_record, encode_record
from cxr_edge.model.settings import Settings
from cxr_edge.model.study import findings_of, limits_of, merge
from cxr_edge.node.background import Background
from cxr_edge.node.logs import log, short
from cxr_edge.node.queue import Queue
from cxr_edge.node.records import QueuedStudy
from cxr_edge.node.work import POLL_SECONDS
from cxr_edge.support.files import store

SUFFIX: Final = ".study.json"


class StudyWorker(Background):
    """A thread that merges studies, from `start` to `stop`.

    Parameters
    ----------
    model : Model
    settings : Settings
        Of the images' results.
    wait : float
        Seconds without a new image of a study.
    folders : sequence of str
        Destinations that are folders.
    queue : Queue
    images, results : Path
        Folders.
    changed : threading.Condition
        Notified of new results.
    """

    def __init__(
        self,
        model: Model,
        settings: Settings,
        wait: float,
        folders: Sequence[str],
        queue: Queue,
        images: Path,
        results: Path,
        changed: threading.Condition,
    ) -> None:
        super().__init__("study worker")
        self._reported = limits_of(model, settings)
        self._view, self._limits = model.manifest.view, model.limits
        self._wait, self._folders, self._queue = wait, tuple(folders), queue
        self._images, self._results, self._changed = images, results, changed

    def _run(self) -> None:
        while not self._stopping.wait(POLL_SECONDS):
            try:
                for study in self._queue.due_studies(self._wait):
                    self._one(study)
            except (sqlite3.Error, OSError) as error:  # a full disk; the study stays due
                log.error("studies cannot be merged: %s", type(error).__name__)

    def _one(self, study: QueuedStudy) -> None:
        try:
            record = self._merged(study)
        except (InputError, msgspec.MsgspecError, OSError) as error:  # its files are gone or damaged: not tried again
            log.error("study %s cannot be merged: %s", short(study.name), type(error).__name__)
            self._queue.finish_study(study, ())
            return
        name = study.name + SUFFIX
        store(self._results, name, encode_record(record))
        self._queue.finish_study(study, [(folder, name) for folder in self._folders])
        log.info("study %s: the results of %d images are merged", short(study.name), len(study.images))
        with self._changed:
            self._changed.notify_all()

    def _merged(self, study: QueuedStudy) -> StudyRecord:
        uid, images, found = None, [], []
        for _, name in study.images:
            elements = parse((self._images / name).read_bytes(), self._limits).elements
            record = decode_record((self._results / f"{name}.json").read_bytes())
            uid, view = elements.text(tags.STUDY_INSTANCE_UID), view_of(elements)
            images.append(StudyImageRecord(view, record))
            if isinstance(record, ResultRecord) and self._view in (view, None):
                found.append((view, record.probabilities))
        merged = merge(found)
        findings = findings_of(merged, self._reported)
        return StudyRecord(
            study=uid, probabilities=merged, findings=tuple(it.record() for it in findings), images=tuple(images)
        )
