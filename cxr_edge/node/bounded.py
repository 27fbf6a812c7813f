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
    Bound to ``EVT_CONN_OPEN``; the time is the association's ``network_timeout``.
    """
    connection = event.assoc.dul.socket
    seconds = event.assoc.network_timeout
    assert connection is not None  # noqa: S101 - it was just opened
    assert connection.socket is not None  # noqa: S101
    assert seconds is not None  # noqa: S101 - both sides set it
    opened = connection.socket
    opened.settimeout(seconds)

    def receive(nr_bytes: int) -> bytearray:
        if nr_bytes > _MAX_PDU:
            log.warning("a connection announced %d MiB in one piece; it is ended", nr_bytes >> 20)
            REJECTED.labels("too_large").inc()
            raise ConnectionAbortedError
        return _received(opened, nr_bytes, seconds)

    connection.recv = receive  # type: ignore[method-assign]


def _received(opened: socket.socket, length: int, seconds: float) -> bytearray:
    """Read so many bytes, or fewer if the other side closes.

    Raises
    ------
    TimeoutError
        They did not come in time, however many did.
    """
    end = time.monotonic() + seconds
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
    opened.settimeout(seconds)
    return received
