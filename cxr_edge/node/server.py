"""pynetdicom's server within bounds: a destination that is silent, or says too much, costs itself alone."""

import socketserver
import ssl
import sys
import threading
import time
from collections.abc import Sequence
from typing import Any, Final

from pynetdicom import AE, evt
from pynetdicom.association import Association
from pynetdicom.events import Event
from pynetdicom.presentation import PresentationContext
from pynetdicom.transport import ThreadedAssociationServer

from cxr_edge.node.bounded import bound
from cxr_edge.node.config import Receive
from cxr_edge.node.logs import log
from cxr_edge.node.metrics import REJECTED

#: Connections beyond `Receive.max_associations` that may be open, so that one too many is told so in DICOM's terms.
_SPARE: Final = 8


class BoundedServer(ThreadedAssociationServer):
    """Listens in a thread of its own, from `start` to `stop`.

    A TLS handshake is made in the connection's own thread, as all others would wait for a silent one; what a
    connection reads is bounded; and there are no more of them than can be of use.

    Raises
    ------
    OSError
        It cannot listen there.
    """

    daemon_threads = True

    def __init__(self, entity: AE, config: Receive, handlers: Sequence[tuple[Any, ...]],
                 tls: ssl.SSLContext | None) -> None:  # fmt: skip
        self._config = config
        self._most = config.max_associations + _SPARE
        self._starting = 0
        self._closing = False
        self._counting = threading.Lock()
        contexts: list[PresentationContext] = entity.supported_contexts
        every = [*handlers, (evt.EVT_CONN_OPEN, bound), (evt.EVT_CONN_CLOSE, _let_go)]
        super().__init__(entity, (config.host, config.port), config.ae_title, contexts, tls, every)
        self._thread = threading.Thread(target=self.serve_forever, name="receiver", daemon=True)

    def start(self) -> None:
        """Begin to take associations."""
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether associations are taken."""
        return self._thread.is_alive()

    def shutdown(self) -> None:
        """Take no more associations."""
        self._closing = True
        socketserver.BaseServer.shutdown(self)
        self.server_close()

    def end_associations(self, seconds: float) -> None:
        """Abort what is open, and after so long cut off who does not listen to that."""
        for association in self.active_associations:
            if association.is_established:
                association.abort(block=False)
            else:
                _cut_off(association)
        end = time.monotonic() + seconds
        for association in self.active_associations:
            association.join(max(0, end - time.monotonic()))
            if association.is_alive():
                _cut_off(association)

    def get_request(self) -> tuple[Any, Any]:
        """Accept a connection; what is said over it is waited for elsewhere."""
        assert self.socket is not None  # noqa: S101 - it listens
        connection, address = self.socket.accept()
        if self.ssl_context is not None:
            connection = self.ssl_context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        return connection, address

    def verify_request(self, request: Any, client_address: Any) -> bool:  # noqa: ARG002 - socketserver's signature
        """Take no more connections than can be of use."""
        with self._counting:
            if self._starting + len(self.active_associations) < self._most:
                self._starting += 1
                return True
        log.warning("a connection from %s is closed: too many are open", client_address[0])
        REJECTED.labels("too many connections").inc()
        return False

    def process_request(self, request: Any, client_address: Any) -> None:
        """Start a thread for a connection."""
        try:
            super().process_request(request, client_address)
        except RuntimeError:  # the system has no more threads
            with self._counting:
                self._starting -= 1
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Take a connection, in a thread of its own."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            with self._counting:
                self._starting -= 1

    def finish_request(self, request: Any, client_address: Any) -> None:
        """Make the handshake, if there is one, and then an association."""
        if isinstance(request, ssl.SSLSocket):
            request.settimeout(self._config.negotiation_seconds)
            request.do_handshake()
        if self._closing:
            raise ConnectionAbortedError
        super().finish_request(request, client_address)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002 - socketserver's signature
        """Say that a connection came to nothing."""
        error = sys.exc_info()[1]
        log.warning("a connection from %s came to nothing: %s", client_address[0], getattr(error, "reason", None)
                    or type(error).__name__)  # fmt: skip
        REJECTED.labels("connection").inc()


def _cut_off(association: Association) -> None:
    if association.dul.socket is not None:
        association.dul.socket.close()


def _let_go(event: Event) -> None:
    """Wake who waits for a negotiation on a connection that is closed: else a mere probe of the port keeps a place."""
    if not event.assoc.is_established:
        event.assoc.dul.to_user_queue.put(None)  # type: ignore[arg-type]
