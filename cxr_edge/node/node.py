"""The node: its parts put together, started, looked after, and stopped."""

import shutil
import signal
import threading
import time
from pathlib import Path
from typing import Final

from filelock import FileLock, Timeout

from cxr_edge.backends import usable_cores
from cxr_edge.errors import NodeBusy, NodeConfig
from cxr_edge.model import load
from cxr_edge.node import spool
from cxr_edge.node.admit import Admission
from cxr_edge.node.config import Config
from cxr_edge.node.deliver import Courier
from cxr_edge.node.logs import log
from cxr_edge.node.metrics import MetricsServer
from cxr_edge.node.queue import Queue
from cxr_edge.node.receive import Receiver
from cxr_edge.node.watch import FolderWatch
from cxr_edge.node.work import Workers
from cxr_edge.reading import MEBIBYTE, Reading

#: How long films that are being stored have to be answered at the end.
_STOP_SECONDS: Final = 30.0
_UPKEEP_SECONDS: Final = 60.0


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
        The model cannot be had.
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        self._films, self._results = folders(config.data)
        self._lock = FileLock(config.data / ".lock", timeout=0)
        try:
            self._lock.acquire()
        except Timeout as error:
            raise NodeBusy(f"{config.data} is in use by another node; stop that, or choose another folder") from error
        chosen = config.model
        reading = Reading(strict=chosen.strict)
        self._model = load(
            chosen.bundle, device=chosen.device, precision=chosen.precision, threads=1, reading=reading, spinning=False
        )
        self._queue = Queue(config.data)
        self._news = threading.Condition()
        self._sweep()
        admission = Admission(self._films, self._queue, reading, config.queue.min_free_mib, self._news)
        self._workers = Workers(self._model, config, self._queue, self._films, self._results, self._news)
        self._couriers = [Courier(peer, config.queue, self._queue, self._results, self._news) for peer in config.peers]
        self.receiver = Receiver(config.receive, admission) if config.receive else None
        self._watch = FolderWatch(config.watch, admission, reading.max_file_bytes) if config.watch else None
        self.metrics = MetricsServer(config.metrics.port, self._queue, self.wrong) if config.metrics else None

    def start(self) -> None:
        """Begin to work, and then to take films."""
        log.info("model %s on %s: %s", self._model.identity, self._model.device, self._model.device_reason)
        self._workers.start(self._config.model.workers or usable_cores())
        for courier in self._couriers:
            courier.start()
        if self.metrics is not None:
            self.metrics.start()
            log.info("metrics and health on 127.0.0.1:%d", self.metrics.port)
        if self._watch is not None:
            self._watch.start()
        if self.receiver is not None:
            self.receiver.start()
        log.info("ready; waiting films: %d", self._queue.counts()["film-waiting"])

    def stop(self) -> None:
        """Take no more films, finish what is in work, and end; what waits is on disk."""
        log.info("stopping")
        if self.receiver is not None:
            self.receiver.stop(_STOP_SECONDS)
        if self._watch is not None:
            self._watch.stop()
        self._workers.stop()
        for courier in self._couriers:
            courier.stop()
        if self.metrics is not None:
            self.metrics.stop()
        self._queue.close()
        self._lock.release()
        log.info("stopped")

    def wrong(self) -> list[str]:
        """Say what keeps the node from its work; empty if nothing does."""
        found = []
        if not self._workers.alive:
            found.append("a worker ended")
        found += [f"the courier to {courier.name} ended" for courier in self._couriers if not courier.alive]
        if self._watch is not None and not self._watch.alive:
            found.append("the folder is no longer watched")
        if shutil.disk_usage(self._config.data).free < self._config.queue.min_free_mib * MEBIBYTE:
            found.append("too little disk space: films are refused")
        return found

    def upkeep(self) -> None:
        """Forget what was delivered long enough ago, and remove its files."""
        names, objects = self._queue.forget(time.time() - 3600 * self._config.queue.retention_hours)
        for path in [self._films / name for name in names] + [self._results / name for name in objects]:
            path.unlink(missing_ok=True)
        if names:
            log.info("forgot %d films, delivered over %g hours ago", len(names), self._config.queue.retention_hours)

    def _sweep(self) -> None:
        """Remove what an interruption left. A film without an entry was never answered for."""
        left = spool.sweep(self._films, self._queue.films()) + spool.sweep(self._results, self._queue.objects())
        if left:
            log.info("removed %d files that an interruption left", left)


def folders(data: Path) -> tuple[Path, Path]:
    """Make the folders of films and results, for this user alone.

    Raises
    ------
    NodeConfig
    """
    films, results = data / "films", data / "results"
    try:
        for folder in (data, films, results):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise NodeConfig(
            f"{error.filename} cannot be made ({error.strerror}); set data to a folder of yours"
        ) from error
    return films, results


def run(config: Config) -> None:
    """Run a node until SIGTERM or SIGINT."""
    node = Node(config)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    try:
        node.start()
        while not stop.wait(_UPKEEP_SECONDS):
            node.upkeep()
    finally:
        node.stop()
