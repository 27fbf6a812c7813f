"""The storage service for scanners: C-ECHO and C-STORE (PS3.4, annexes A and B)."""

import sqlite3
import ssl
import threading
from typing import Final

from pynetdicom import AE, evt
from pynetdicom.association import Association
from pynetdicom.events import Event
from pynetdicom.pdu import P_DATA_TF
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

from cxr_edge.errors import NodeBusy
from cxr_edge.images.dicom.codestreams import codecs
from cxr_edge.images.dicom.header import layout, syntaxes
from cxr_edge.images.limits import MEBIBYTE
from cxr_edge.node.config import Receive
from cxr_edge.node.intake import Intake, IntakeOutcome
from cxr_edge.node.logs import log
from cxr_edge.node.metrics import RECEIVED, REJECTED
from cxr_edge.node.server import BoundedServer
from cxr_edge.node.tls import context_of
from cxr_edge.support.text import printable

#: SOP classes that are accepted.
SOP_CLASSES: Final = (layout.COMPUTED_RADIOGRAPHY, layout.DIGITAL_X_RAY, layout.SECONDARY_CAPTURE)
#: Transfer syntaxes that are accepted; uncompressed ones first, because an acceptor prefers what comes first.
TRANSFER_SYNTAXES: Final = (*syntaxes.NATIVE, *codecs.CODECS, syntaxes.RLE)
#: Status of the answer to a C-STORE request (PS3.4, B.2.3).
STATUS: Final = {
    IntakeOutcome.QUEUED: 0x0000,
    IntakeOutcome.DUPLICATE: 0x0000,
    IntakeOutcome.CORRECTED: 0x0000,
    IntakeOutcome.CONFLICT: 0x0111,  # duplicate SOP instance
    IntakeOutcome.MISMATCH: 0xA900,  # data set does not match SOP class
    IntakeOutcome.UNUSABLE: 0xC000,  # cannot understand
    IntakeOutcome.TOO_LARGE: 0xA700,  # out of resources
    IntakeOutcome.NO_SPACE: 0xA700,
}
OUT_OF_RESOURCES: Final = 0xA700
#: Why an association is rejected, by source and diagnostic (PS3.8, 9.3.4).
_REASONS: Final[dict[tuple[int | None, int | None], str]] = {
    (1, 3): "calling AE title",
    (1, 7): "called AE title",
    (3, 2): "too many associations",
}
#: A message over the limit by no more than this is read and answered; beyond it the association is closed.
SLACK_MIB: Final = 32
_MAX_PDU: Final = 1 << 17
#: How long a stop waits for the other side to notice the abort of an association.
_END_SECONDS: Final = 2.0


class Receiver:
    """A storage service that listens from `start` to `stop`.

    Parameters
    ----------
    config : Receive
    intake : Intake
    """

    def __init__(self, config: Receive, intake: Intake) -> None:
        self._config, self._intake = config, intake
        self._longest = config.max_image_mib * MEBIBYTE
        self._most = self._longest + SLACK_MIB * MEBIBYTE
        self._server: BoundedServer | None = None
        self._busy: set[Association] = set()
        self._idle = threading.Condition()

    @property
    def alive(self) -> bool:
        """Return whether it listens."""
        return self._server is not None and self._server.alive

    def start(self) -> None:
        """Start listening.

        Raises
        ------
        NodeBusy
            The port is in use, or not allowed.
        NodeConfig
            The certificates cannot be read.
        """
        config = self._config
        handlers = [
            (evt.EVT_C_STORE, self._on_store),
            (evt.EVT_C_ECHO, _on_echo),
            (evt.EVT_REQUESTED, _on_requested),
            (evt.EVT_REJECTED, _on_rejected),
            (evt.EVT_PDU_RECV, self._on_pdu),
        ]
        tls = context_of(config.tls, ssl.Purpose.CLIENT_AUTH) if config.tls else None
        try:
            self._server = BoundedServer(self._entity(), config, handlers, tls)
        except OSError as error:
            raise NodeBusy(
                f"cannot listen on {config.host}:{config.port} ({error.strerror}); is another node running, or "
                "is the port below 1024, which needs privileges?"
            ) from error
        self._server.start()
        log.info("listening as %s on %s:%d", config.ae_title, config.host, config.port)

    def stop(self, seconds: float) -> None:
        """Accept no more associations, wait up to `seconds` for images that are being stored, and end."""
        if self._server is None:
            return
        self._server.shutdown()
        with self._idle:
            self._idle.wait_for(lambda: not self._busy, timeout=seconds)
        self._server.end_associations(_END_SECONDS)

    def _entity(self) -> AE:
        config = self._config
        entity = AE(ae_title=config.ae_title)
        entity.require_called_aet = True
        entity.require_calling_aet = list(config.callers)
        entity.maximum_associations = config.max_associations
        entity.maximum_pdu_size = _MAX_PDU
        entity.acse_timeout = config.negotiation_seconds
        entity.dimse_timeout = entity.network_timeout = config.idle_seconds
        entity.add_supported_context(Verification)
        for sop_class in SOP_CLASSES:
            entity.add_supported_context(sop_class, list(TRANSFER_SYNTAXES))
        return entity

    def _on_pdu(self, event: Event) -> None:
        """Count the bytes of a message so far: DICOM does not announce its length."""
        if not isinstance(event.pdu, P_DATA_TF):
            return
        with self._idle:
            handled = event.assoc in self._busy
        received = getattr(event.assoc, "received", 0) + event.pdu.pdu_length
        event.assoc.received = received  # type: ignore[attr-defined]
        if handled:
            self._end(event, "sent a request before the last was answered", "out of turn")
        elif received > self._most:
            self._end(event, f"sent a message of over {self._most >> 20} MiB", "too_large")

    def _end(self, event: Event, why: str, reason: str) -> None:
        log.warning("an association %s; it is closed", why)
        REJECTED.labels(reason).inc()
        # An orderly abort would go on reading until the sender reacts.
        event.assoc.dul.socket.close()  # type: ignore[union-attr]

    def _on_store(self, event: Event) -> int:
        with self._idle:
            self._busy.add(event.assoc)
        try:
            return self._store(event)
        finally:
            with self._idle:
                event.assoc.received = 0  # type: ignore[attr-defined]
                self._busy.discard(event.assoc)
                self._idle.notify_all()

    def _store(self, event: Event) -> int:
        uid = str(event.request.AffectedSOPInstanceUID)  # type: ignore[union-attr]
        data = event.encoded_dataset()
        try:
            too_large = len(data) > self._longest
            outcome = IntakeOutcome.TOO_LARGE if too_large else self._intake.take(data, expected_uid=uid)
        except (OSError, sqlite3.Error) as error:
            log.error("an image could not be stored: %s", type(error).__name__)
            RECEIVED.labels("dicom", "no_space").inc()
            return OUT_OF_RESOURCES
        except Exception as error:  # no image may end the association's thread; the text may quote its data set
            log.error("an image could not be read: %s", type(error).__name__)
            RECEIVED.labels("dicom", "internal").inc()
            return STATUS[IntakeOutcome.UNUSABLE]
        RECEIVED.labels("dicom", outcome.value).inc()
        if STATUS[outcome]:
            log.warning("an image from %s is answered with 0x%04X: %s", _caller(event), STATUS[outcome], outcome.value)
        return STATUS[outcome]


def _caller(event: Event) -> str:
    """Return the AE title that the other side claims, and its address."""
    requestor = event.assoc.requestor
    return f"{printable(str(requestor.ae_title).strip())} at {requestor.address}"


def _on_echo(_: Event) -> int:
    return 0x0000


def _on_requested(event: Event) -> None:
    log.debug("association requested from %s", event.assoc.requestor.address)


def _on_rejected(event: Event) -> None:
    answer = event.assoc.acceptor.primitive
    source, diagnostic = (answer.result_source, answer.diagnostic) if answer is not None else (None, None)
    reason = _REASONS.get((source, diagnostic), "other")
    request = event.assoc.requestor.primitive
    called = printable(str(request.called_ae_title).strip()) if request is not None else ""
    log.warning("association from %s to %s rejected: %s", _caller(event), called, reason)
    REJECTED.labels(reason).inc()
