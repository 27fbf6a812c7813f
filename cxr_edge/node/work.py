"""Workers: take an image from the queue, and store its results on disk."""

import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from cxr_edge.errors import DecoderFailed, DeviceFailed, InputError, NotDicom
from cxr_edge.model.model import Model
from cxr_edge.model.record import encode_record
from cxr_edge.node.config import Config, FolderDestination
from cxr_edge.node.config import Queue as QueueConfig
from cxr_edge.node.logs import log, short
from cxr_edge.node.metrics import INFERRED, WORK_SECONDS
from cxr_edge.node.queue import Queue
from cxr_edge.node.records import QueuedImage
from cxr_edge.outputs.analysis import Analyser
from cxr_edge.outputs.base import Output
from cxr_edge.outputs.dicom import DicomObjects
from cxr_edge.outputs.dicom.header import is_dicom
from cxr_edge.outputs.overlays import PositiveOverlays
from cxr_edge.support.files import store

#: How often the queue is polled without a notification: another process may have replayed a dead letter.
POLL_SECONDS: Final = 0.5
#: So many times a node may end while it works on an image before the image is blamed: far more than restarts for other
#: reasons while one image waits, because others come first.
_MOST_UNFINISHED: Final = 32
#: Back-off after a failure that is not the image's fault: as after so many attempts.
_UNCOUNTED: Final = 4


def back_off(config: QueueConfig, attempts: int) -> float:
    """Return the seconds to wait after so many attempts."""
    return float(min(config.longest_wait_seconds, config.first_wait_seconds * 2.0 ** min(attempts, 30)))


class Workers:
    """Threads that work on images until `stop`.

    Parameters
    ----------
    model : Model
        With one thread per inference.
    config : Config
    queue : Queue
    images, results : Path
        Folders.
    changed : threading.Condition
        Notified of new images and of new results.
    on_device_failed : callable
        Called when the device fails: it does not recover while the process lives.

    Attributes
    ----------
    settings : cxr_edge.Settings
        Of all results.
    """

    def __init__(
        self,
        model: Model,
        config: Config,
        queue: Queue,
        images: Path,
        results: Path,
        changed: threading.Condition,
        on_device_failed: Callable[[DeviceFailed], None],
    ) -> None:
        self._model, self._config, self._queue = model, config, queue
        self._images, self._results, self._changed = images, results, changed
        self._on_device_failed = on_device_failed
        chosen = config.model
        self._folder_destinations = [
            destination.name for destination in config.destinations if isinstance(destination, FolderDestination)
        ]
        self.settings = model.settings(
            tta=chosen.tta,
            adaptive=chosen.adaptive,
            operating_point=chosen.operating_point,
            heatmaps=config.results.overlays > 0,
        )
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []

    @property
    def alive(self) -> bool:
        """Return whether all threads are running."""
        return all(thread.is_alive() for thread in self._threads)

    def start(self, number: int) -> None:
        """Start so many threads."""
        self._threads = [threading.Thread(target=self._run, name=f"worker {i}") for i in range(number)]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Finish the images that are in work, and end the threads."""
        self._stopping.set()
        with self._changed:
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        while not self._stopping.is_set():
            image = None
            try:
                image = self._queue.take_image()
                if image is not None:
                    self._one(image)
            except sqlite3.Error as error:  # a full disk: nothing can be recorded until there is space
                log.error("the queue cannot be used: %s", error)
                self._queue.release_image(image)
                self._stopping.wait(self._config.queue.first_wait_seconds)
                continue
            if image is None:
                with self._changed:
                    self._changed.wait(POLL_SECONDS)

    def _one(self, image: QueuedImage) -> None:
        started = time.monotonic()
        try:
            if image.unfinished >= _MOST_UNFINISHED:
                self._mark_dead(image, "attempts", f"the node ended {image.unfinished} times while it worked on it")
                return
            objects = self._infer(image)
            if not self._queue.finish_image(image, self._deliveries(objects)):
                log.info("image %s was corrected while it was worked on: it is worked on anew", short(image.name))
        except DecoderFailed as error:  # the image may be at fault, or the decoder was killed or short of memory
            self._postpone(image, error.code, str(error))
        except InputError as error:
            self._mark_dead(image, error.code, str(error))
        except DeviceFailed as error:
            self._stopping.set()
            self._postpone(image, error.code, str(error), counts=False)
            self._on_device_failed(error)
        except sqlite3.Error:
            raise
        except OSError as error:
            if (self._images / image.name).exists():  # then the disk is at fault
                self._postpone(image, "disk", type(error).__name__, counts=False)
            else:
                self._mark_dead(image, "not_found", "its file is gone")
        except Exception as error:  # no image may end the worker; the error's text may quote its data set
            self._postpone(image, "internal", type(error).__name__)
        else:
            WORK_SECONDS.observe(time.monotonic() - started)
            INFERRED.labels("ok").inc()
            log.info("image %s: %d results in %.2f s", short(image.name), len(objects), time.monotonic() - started)
            with self._changed:
                self._changed.notify_all()

    def _infer(self, image: QueuedImage) -> list[str]:
        """Infer an image and store its results; return the names of their files."""
        data = (self._images / image.name).read_bytes()
        log.debug("inferring image %s", short(image.name))
        stored: list[str] = []

        def keep(name: str, content: bytes) -> None:
            store(self._results, name, content)
            stored.append(name)

        analyser = Analyser.of(self._model, self.settings, self._outputs(data, keep))
        record = analyser.run(data, image.name, path=image.source)
        if self._folder_destinations:
            keep(f"{image.name}.json", encode_record(record))
        log.debug("stored results of image %s", short(image.name))
        for warning in record.warnings:
            if warning.is_doubt:
                log.warning("image %s: %s", short(image.name), warning)
        return stored

    def _outputs(self, data: bytes, keep: Callable[[str, bytes], None]) -> list[Output]:
        """Choose the outputs of an image; register new outputs here."""
        results = self._config.results
        if is_dicom(data):
            return [DicomObjects(keep, results.overlays, results.colormap)]
        if self._folder_destinations:
            return [PositiveOverlays(keep, results.overlays, results.colormap)]
        raise NotDicom(
            "expected a DICOM image, because no destination is a folder; got PNG or JPEG, of which archives receive no "
            "results; add a destination of kind folder"
        )

    def _deliveries(self, objects: Sequence[str]) -> list[tuple[str, str]]:
        """Return pairs of destination and result: DICOM objects go to all, other files to folders alone."""
        to_folders = [(destination, name) for destination in self._folder_destinations for name in objects]
        archives = [
            destination.name
            for destination in self._config.destinations
            if not isinstance(destination, FolderDestination)
        ]
        return to_folders + [
            (destination, name) for destination in archives for name in objects if name.endswith(".dcm")
        ]

    def _postpone(self, image: QueuedImage, code: str, message: str, *, counts: bool = True) -> None:
        if counts and image.attempts + 1 >= self._config.queue.attempts:
            self._mark_dead(image, code, message)
            return
        log.warning("image %s: %s: %s; it will be tried again", short(image.name), code, message)
        INFERRED.labels(code).inc()
        wait = back_off(self._config.queue, image.attempts if counts else _UNCOUNTED)
        self._queue.postpone_image(image, code, message, wait, counts=counts)

    def _mark_dead(self, image: QueuedImage, code: str, message: str) -> None:
        log.error("image %s is a dead letter: %s: %s", short(image.name), code, message)
        INFERRED.labels(code).inc()
        self._queue.mark_image_dead(image, code, message)
