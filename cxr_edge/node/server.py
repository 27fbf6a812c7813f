"""pynetdicom's server within bounds: a client that is silent, or sends too much, harms only itself."""

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

#: Connections that may be open beyond `Receive.max_associations`, so that one too many is rejected by DICOM's rules.
_SPARE: Final = 8


class BoundedServer(ThreadedAssociationServer):
    """A server that listens in a thread of its own, from `start` to `shutdown`.

    Each TLS handshake runs in its connection's own thread, so that a silent client delays no other. What a connection
    reads is bounded, and so is the number of connections.

    Raises
    ------
    OSError
        It cannot listen on this address.
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
        all_handlers = [*handlers, (evt.EVT_CONN_OPEN, bound), (evt.EVT_CONN_CLOSE, _wake_negotiation)]
        super().__init__(entity, (config.host, config.port), config.ae_title, contexts, tls, all_handlers)
        self._thread = threading.Thread(target=self.serve_forever, name="receiver", daemon=True)

    def start(self) -> None:
        """Start accepting associations."""
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Return whether associations are accepted."""
        return self._thread.is_alive()

    def shutdown(self) -> None:
        """Accept no more associations."""
        self._closing = True
        socketserver.BaseServer.shutdown(self)
        self.server_close()

    def end_associations(self, seconds: float) -> None:
        """Abort open associations, and close those that do not end within `seconds`."""
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
        """Accept a connection without reading from it: its own thread does that."""
        assert self.socket is not None  # noqa: S101 - it listens
        connection, address = self.socket.accept()
        if self.ssl_context is not None:
            connection = self.ssl_context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        return connection, address

    def verify_request(self, request: Any, client_address: Any) -> bool:  # noqa: ARG002 - socketserver's signature
        """Return whether a connection is accepted: not if too many are open."""
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
        """Serve a connection, in a thread of its own."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            with self._counting:
                self._starting -= 1

    def finish_request(self, request: Any, client_address: Any) -> None:
        """Make the TLS handshake, if there is one, and then the association."""
        if isinstance(request, ssl.SSLSocket):
            request.settimeout(self._config.negotiation_seconds)
            request.do_handshake()
        if self._closing:
            raise ConnectionAbortedError
        super().finish_request(request, client_address)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002 - socketserver's signature
        """Log that a connection failed."""
        error = sys.exc_info()[1]
        log.warning("a connection from %s failed: %s", client_address[0], getattr(error, "reason", None)
                    or type(error).__name__)  # fmt: skip
        REJECTED.labels("connection").inc()


def _cut_off(association: Association) -> None:
    if association.dul.socket is not None:
        association.dul.socket.close()


def _wake_negotiation(event: Event) -> None:
    """End the wait for a negotiation when its connection closes: else a mere probe of the port keeps a slot."""
    if not event.assoc.is_established:
        event.assoc.dul.to_user_queue.put(None)  # type: ignore[arg-type]
