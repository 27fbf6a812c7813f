"""The node: assembles its parts, starts, maintains and stops them."""

import shutil
import signal
import sqlite3
import ssl
import threading
import time
from pathlib import Path
from typing import Final

from filelock import FileLock, Timeout

from cxr_edge.errors import DeviceFailed, NodeBusy, NodeConfig
from cxr_edge.images.limits import MEBIBYTE, InputLimits
from cxr_edge.model.model import load
from cxr_edge.node import spool
from cxr_edge.node.background import Background
from cxr_edge.node.config import Config, FolderDestination, WebDestination
from cxr_edge.node.deliver import DeliveryWorker
from cxr_edge.node.intake import Intake
from cxr_edge.node.logs import log
from cxr_edge.node.metrics import MetricsServer
from cxr_edge.node.queue import Queue
from cxr_edge.node.receive import Receiver
from cxr_edge.node.studies import StudyWorker
from cxr_edge.node.tls import context_of
from cxr_edge.node.watch import FolderWatch
from cxr_edge.node.work import Workers
from cxr_edge.support.files import flush
from cxr_edge.support.parallel import usable_cores

#: How long a stop waits for images that are being stored.
_STOP_SECONDS: Final = 30.0
_UPKEEP_SECONDS: Final = 60.0
#: On Windows, Ctrl-C takes effect only between two waits.
_SLICE_SECONDS: Final = 0.5


class Node:
    """A node from `start` to `stop`.

    Parameters
    ----------
    config : Config

    Raises
    ------
    NodeConfig, NodeBusy
        Its folder cannot be used, or another node uses it.
    BundleError, DeviceUnavailable
        The model cannot be loaded.
    """

    def __init__(self, config: Config) -> None:
        #: Set when the node is to end; and the error that ends it, if any.
        self.ending = threading.Event()
        self.failure: DeviceFailed | None = None
        self._config = config
        _check_secrets(config)
        self._images, self._results = folders(config.data)
        self._lock = FileLock(config.data / ".lock", timeout=0)
        try:
            self._lock.acquire()
        except Timeout as error:
            raise NodeBusy(
                f"{config.data} is in use by another node; stop that node, or set data to another folder"
            ) from error
        except OSError as error:
            raise NodeConfig(
                f"{config.data} cannot be used ({error.strerror}); set data to a folder of yours"
            ) from error
        chosen = config.model
        limits = InputLimits(strict=chosen.strict)
        self._model = load(
            chosen.bundle, device=chosen.device, precision=chosen.precision, threads=1, limits=limits, spinning=False
        )
        try:
            self._queue = Queue(config.data, config.queue.longest_wait_seconds)
        except sqlite3.Error as error:
            raise NodeConfig(
                f"the queue in {config.data} cannot be opened ({error}); give it to this user, or, if it is damaged, "
                "move it away or repair it with .recover of sqlite3"
            ) from error
        self._changed = threading.Condition()
        self._mark_orphaned_dead()
        self._intake = Intake(
            self._images, self._queue, limits,
            min_free_mib=config.queue.min_free_mib,
            folders=[it.name for it in config.destinations if isinstance(it, FolderDestination)],
            changed=self._changed,
        )  # fmt: skip
        self._sweep()
        self._workers = Workers(
            self._model, config, self._queue, self._images, self._results, self._changed, self._on_device_failed
        )
        self._delivery_workers = [
            DeliveryWorker(destination, config.queue, self._queue, self._results, self._changed)
            for destination in config.destinations
        ]
        self._study_worker = self._make_study_worker()
        self.receiver = Receiver(config.receive, self._intake) if config.receive else None
        self._watch = FolderWatch(config.watch, self._intake, limits) if config.watch else None
        self.metrics = (
            MetricsServer(config.metrics.port, self._queue, self.problems, self.destinations)
            if config.metrics
            else None
        )

    def start(self) -> None:
        """Start the workers, and then the intake of images."""
        log.info("model %s on %s: %s", self._model.identity, self._model.device, self._model.device_reason)
        self._workers.start(self._config.model.workers or usable_cores())
        for worker in self._background:
            worker.start()
        if self.metrics is not None:
            self.metrics.start()
            log.info("metrics and health on 127.0.0.1:%d", self.metrics.port)
        if self._watch is not None:
            self._watch.start()
        if self.receiver is not None:
            self.receiver.start()
        log.info("ready; %d images wait", self._queue.counts()["image-waiting"])

    def stop(self) -> None:
        """Stop the intake, finish the current work, and end; what waits stays on disk."""
        log.info("stopping")
        if self.receiver is not None:
            self.receiver.stop(_STOP_SECONDS)
        if self._watch is not None:
            self._watch.stop()
        self._workers.stop()
        for worker in self._background:
            worker.stop()
        if self.metrics is not None:
            self.metrics.stop()
        self._queue.close()
        self._lock.release()
        log.info("stopped")

    def problems(self) -> list[str]:
        """Return what keeps the node from its work; an empty list if nothing does."""
        found = []
        if not self._workers.alive:
            found.append("a worker ended")
        if self.receiver is not None and not self.receiver.alive:
            found.append("no associations are accepted")
        found += [
            f"the delivery worker to {worker.name} ended" for worker in self._delivery_workers if not worker.alive
        ]
        if self._study_worker is not None and not self._study_worker.alive:
            found.append("studies are no longer merged")
        if self._watch is not None and not self._watch.alive:
            found.append("the folder is no longer watched")
        if shutil.disk_usage(self._config.data).free < self._config.queue.min_free_mib * MEBIBYTE:
            found.append("too little disk space: images are refused")
        return found

    def destinations(self) -> dict[str, dict[str, int]]:
        """Return for each destination how many results wait for it, and its failures in a row."""
        waiting = self._queue.waiting_by_destination()
        return {
            worker.name: {"waiting": waiting.get(worker.name, 0), "failures": worker.failures}
            for worker in self._delivery_workers
        }

    def upkeep(self) -> None:
        """Record the node's time; forget images whose retention time is over, and remove their files."""
        keep, now = self._config.queue, self._queue.now()
        before, dead_before = now - 3600 * keep.retention_hours, now - 3600 * keep.dead_letter_hours
        try:
            self._queue.keep_time()
            number = self._intake.forget(self._results, before, dead_before)
        except sqlite3.Error as error:  # a full disk: the next upkeep tries again
            log.error("finished images cannot be removed: %s", type(error).__name__)
            return
        if number:
            log.info("removed %d finished images, whose retention time is over", number)

    @property
    def _background(self) -> list[Background]:
        return [*([] if self._study_worker is None else [self._study_worker]), *self._delivery_workers]

    def _make_study_worker(self) -> StudyWorker | None:
        wait = self._config.results.wait_for_study
        if wait is None:
            return None
        folders = [it.name for it in self._config.destinations if isinstance(it, FolderDestination)]
        return StudyWorker(
            self._model, self._workers.settings, wait, folders, self._queue, self._images, self._results, self._changed
        )

    def _on_device_failed(self, error: DeviceFailed) -> None:
        self.failure = error
        self.ending.set()

    def _mark_orphaned_dead(self) -> None:
        number = self._queue.mark_orphaned_dead([destination.name for destination in self._config.destinations])
        if number:
            log.error("%d results were for destinations that are no longer configured: now dead letters", number)

    def _sweep(self) -> None:
        """Remove results that an interruption left behind, and take images that it left behind."""
        left = spool.sweep(self._results, self._queue.objects())
        taken = self._intake.recover()
        if left or taken:
            log.info("after an interruption: %d results removed, %d images taken", left, taken)


def folders(data: Path) -> tuple[Path, Path]:
    """Make the folders of images and results, readable by this user alone.

    Raises
    ------
    NodeConfig
    """
    images, results = data / "images", data / "results"
    if data.exists() and not data.is_dir():
        raise NodeConfig(f"{data} is not a folder; set data to a folder of yours")
    try:
        for folder in (data, images, results):
            if not folder.exists():
                folder.mkdir(parents=True)
                flush(folder.parent)
            folder.chmod(0o700)
    except OSError as error:
        raise NodeConfig(
            f"{error.filename} cannot be used ({error.strerror}); set data to a folder of yours"
        ) from error
    return images, results


def _check_secrets(config: Config) -> None:
    """Read certificates and tokens once, so that a missing one fails now and not at the first result.

    Raises
    ------
    NodeConfig
    """
    if config.receive is not None and config.receive.tls is not None:
        context_of(config.receive.tls, ssl.Purpose.CLIENT_AUTH)
    for destination in config.destinations:
        if not isinstance(destination, FolderDestination) and destination.tls is not None:
            context_of(destination.tls, ssl.Purpose.SERVER_AUTH)
        if isinstance(destination, WebDestination) and destination.token_file is not None:
            try:
                destination.token_file.read_text("ascii")
            except (OSError, ValueError) as error:
                raise NodeConfig(
                    f"expected a bearer token in ASCII in {destination.token_file}, got {error}"
                ) from error


def run(config: Config) -> None:
    """Run a node until SIGTERM or SIGINT.

    Raises
    ------
    NodeConfig, NodeBusy, BundleError, DeviceUnavailable
        See `Node`.
    DeviceFailed
        The device failed; the next start continues with what waits.
    """
    threading.excepthook = _log_thread_end
    node = Node(config)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: node.ending.set())
    try:
        node.start()
        upkeep = time.monotonic() + _UPKEEP_SECONDS
        while not node.ending.wait(_SLICE_SECONDS):
            if time.monotonic() > upkeep:
                node.upkeep()
                upkeep = time.monotonic() + _UPKEEP_SECONDS
    finally:
        node.stop()
    if node.failure is not None:
        raise node.failure


def _log_thread_end(arguments: threading.ExceptHookArgs) -> None:
    """Log the error that ended a thread by its class alone: its text may quote a data set."""
    name = arguments.thread.name if arguments.thread is not None else "a thread"
    log.error("%s ended: %s", name, arguments.exc_type.__name__)
