"""The node's metrics for Prometheus, and its health; served on loopback alone."""

import json
import threading
from collections.abc import Callable, Iterable
from socketserver import ThreadingMixIn
from typing import Any, Final
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import CollectorRegistry, Counter, Histogram, PlatformCollector, ProcessCollector, make_wsgi_app
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from cxr_edge.errors import NodeBusy
from cxr_edge.node.queue import Queue

REGISTRY: Final = CollectorRegistry()
ProcessCollector(registry=REGISTRY)
PlatformCollector(registry=REGISTRY)

RECEIVED: Final = Counter(
    "cxr_edge_images_received",
    "Received images by way (dicom, folder) and outcome",
    ["way", "outcome"],
    registry=REGISTRY,
)
REJECTED: Final = Counter(
    "cxr_edge_associations_rejected", "Rejected or closed associations by reason", ["reason"], registry=REGISTRY
)
INFERRED: Final = Counter("cxr_edge_images_inferred", "Inferences by outcome", ["outcome"], registry=REGISTRY)
DELIVERED: Final = Counter(
    "cxr_edge_objects_delivered",
    "Attempts to deliver a result object, by destination and outcome",
    ["destination", "outcome"],
    registry=REGISTRY,
)
WORK_SECONDS: Final = Histogram(
    "cxr_edge_work_seconds", "From the start of an image's inference to its results on disk", registry=REGISTRY,
    buckets=(0.1, 0.2, 0.5, 1, 2, 5, 10, 30),
)  # fmt: skip
DELIVERY_SECONDS: Final = Histogram(
    "cxr_edge_delivery_seconds", "From the receipt of an image to its last result at a destination", ["destination"],
    registry=REGISTRY,
    buckets=(0.5, 1, 2, 5, 10, 30, 60, 300, 3600),
)  # fmt: skip


class _QueueCollector(Collector):
    def __init__(self, queue: Queue, destinations: Callable[[], dict[str, dict[str, int]]]) -> None:
        self._queue, self._destinations = queue, destinations

    def collect(self) -> Iterable[GaugeMetricFamily]:
        family = GaugeMetricFamily("cxr_edge_queue", "Images and deliveries by state", labels=["kind", "state"])
        for name, number in self._queue.counts().items():
            family.add_metric(name.split("-"), number)
        yield family
        for what, text in (("waiting", "Results that wait"), ("failures", "Failed attempts in a row")):
            by_destination = GaugeMetricFamily(
                f"cxr_edge_destination_{what}", f"{text}, by destination", labels=["destination"]
            )
            for name, numbers in self._destinations().items():
                by_destination.add_metric([name], numbers[what])
            yield by_destination
        oldest = self._queue.oldest_waiting()
        age = 0.0 if oldest is None else self._queue.now() - oldest
        yield GaugeMetricFamily("cxr_edge_oldest_waiting_seconds", "Age of the oldest unfinished image", age)


class MetricsServer:
    """Serves ``/metrics`` and ``/healthz`` on 127.0.0.1.

    Parameters
    ----------
    port : int
    queue : Queue
    health : callable
        Returns the problems of the node, an empty list if there are none.
    destinations : callable
        Returns for each destination the number of waiting results, and of failures in a row.
    """

    def __init__(
        self,
        port: int,
        queue: Queue,
        health: Callable[[], list[str]],
        destinations: Callable[[], dict[str, dict[str, int]]],
    ) -> None:
        self._queue, self._health, self._destinations = queue, health, destinations
        self._collector = _QueueCollector(queue, destinations)
        REGISTRY.register(self._collector)
        self._metrics = make_wsgi_app(REGISTRY)
        try:
            self._server = make_server("127.0.0.1", port, self._answer, _Server, _Quiet)
        except OSError as error:
            raise NodeBusy(
                f"cannot serve metrics on 127.0.0.1:{port} ({error.strerror}); choose another port"
            ) from error
        self._thread = threading.Thread(target=self._server.serve_forever, name="metrics", daemon=True)

    @property
    def port(self) -> int:
        """Return the port that the server listens on."""
        return int(self._server.server_port)

    def start(self) -> None:
        """Start serving."""
        self._thread.start()

    def stop(self) -> None:
        """Stop serving, and close the port."""
        if self._thread.ident is not None:  # else shutdown would wait for ever
            self._server.shutdown()
        self._server.server_close()
        REGISTRY.unregister(self._collector)

    def _answer(self, environ: dict[str, Any], respond: Any) -> Iterable[bytes]:
        if environ["PATH_INFO"] == "/metrics":
            page: Iterable[bytes] = self._metrics(environ, respond)
            return page
        if environ["PATH_INFO"] != "/healthz":
            respond("404 Not Found", [("Content-Type", "text/plain")])
            return [b"/metrics or /healthz\n"]
        wrong = self._health()
        report = {
            "status": "failing" if wrong else "ok",
            "wrong": wrong,
            "queue": self._queue.counts(),
            "destinations": self._destinations(),
        }
        respond("503 Service Unavailable" if wrong else "200 OK", [("Content-Type", "application/json")])
        return [json.dumps(report).encode() + b"\n"]


class _Server(ThreadingMixIn, WSGIServer):
    """Answers each connection in a thread of its own, so that a slow one delays no other."""

    daemon_threads = True


class _Quiet(WSGIRequestHandler):
    timeout = 10

    def log_message(self, *_: object) -> None:
        """Log nothing: requests would fill the log."""
