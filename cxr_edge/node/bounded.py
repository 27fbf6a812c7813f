"""Bounds on what a connection reads, in length and in time, on either side of it."""

import socket
import time
from typing import Final

from pynetdicom.events import Event

from cxr_edge.node.logs import log
from cxr_edge.node.metrics import REJECTED

#: Of one protocol data unit: far above what is announced (PS3.8, D.1.1) and what a negotiation takes.
_MAX_PDU: Final = 1 << 20
_CHUNK: Final = 1 << 16


def bound(event: Event) -> None:
    """Let a connection that was just opened read no unit beyond the bounds.

    pynetdicom gathers up to 4 GiB before it looks at a unit, and waits for its end for ever, whatever its time-outs.
    Bound to ``EVT_CONN_OPEN``. The time for a unit is the association's ``network_timeout``, and until it is
    established what is left of its ``acse_timeout``.
    """
    association, connection = event.assoc, event.assoc.dul.socket
    silence, negotiation = association.network_timeout, association.acse_timeout
    assert connection is not None  # noqa: S101 - it was just opened
    assert connection.socket is not None  # noqa: S101
    assert silence is not None  # noqa: S101 - both sides set it
    assert negotiation is not None  # noqa: S101
    opened, negotiated = connection.socket, time.monotonic() + negotiation
    opened.settimeout(silence)

    def receive(nr_bytes: int) -> bytearray:
        if nr_bytes > _MAX_PDU:
            log.warning("a connection announced %d MiB in one piece; it is ended", nr_bytes >> 20)
            REJECTED.labels("too_large").inc()
            raise ConnectionAbortedError
        end = time.monotonic() + silence
        received = _received(opened, nr_bytes, end if association.is_established else min(end, negotiated))
        opened.settimeout(silence)
        return received

    connection.recv = receive  # type: ignore[method-assign]


def _received(opened: socket.socket, length: int, end: float) -> bytearray:
    """Read so many bytes, or fewer if the other side closes.

    Raises
    ------
    TimeoutError
        They did not come in time, however many did.
    """
    received = bytearray()
    while len(received) < length:
        left = end - time.monotonic()
        if left <= 0:
            raise TimeoutError
        opened.settimeout(left)
        part = opened.recv(min(length - len(received), _CHUNK))
        if not part:
            break
        received += part
    return received
