"""Bounds on what a connection reads, in length and in time, for servers and clients alike."""

import socket
import time
from typing import Final

from pynetdicom.dul import DULServiceProvider
from pynetdicom.events import Event
from pynetdicom.timer import Timer

from cxr_edge.node.logs import log
from cxr_edge.node.metrics import REJECTED

#: Bytes of one protocol data unit: far more than we announce (PS3.8, D.1.1) and than a negotiation needs.
_MAX_PDU: Final = 1 << 20
_CHUNK: Final = 1 << 16


def bound(event: Event) -> None:
    """Limit the length and the time of every unit that a new connection reads.

    pynetdicom itself gathers up to 4 GiB before it parses a unit, and waits for its end for ever, whatever its
    time-outs. This handler is bound to ``EVT_CONN_OPEN``. A unit may take the association's ``network_timeout``;
    until the association is established, what is left of its ``acse_timeout``. Its timers no longer follow the system's
    clock.
    """
    association, connection = event.assoc, event.assoc.dul.socket
    silence, negotiation = association.network_timeout, association.acse_timeout
    assert connection is not None  # noqa: S101 - it has just been opened
    assert connection.socket is not None  # noqa: S101
    assert silence is not None  # noqa: S101 - both sides set it
    assert negotiation is not None  # noqa: S101
    opened, negotiated = connection.socket, time.monotonic() + negotiation
    opened.settimeout(silence)
    _steady_timers(event.assoc.dul)

    def receive(nr_bytes: int) -> bytearray:
        if nr_bytes > _MAX_PDU:
            log.warning("a connection announced a unit of %d MiB; it is closed", nr_bytes >> 20)
            REJECTED.labels("too_large").inc()
            raise ConnectionAbortedError
        end = time.monotonic() + silence
        received = _received(opened, nr_bytes, end if association.is_established else min(end, negotiated))
        opened.settimeout(silence)
        return received

    connection.recv = receive  # type: ignore[method-assign]


class _SteadyTimer(Timer):
    """A timer that a change of the system's clock neither ends nor prolongs, as it does pynetdicom's own."""

    def start(self) -> None:
        self._start_time, self._end_time = time.monotonic(), None

    def stop(self) -> None:
        self._end_time = time.monotonic()

    @property
    def remaining(self) -> float:
        if self.timeout is None:
            return 1
        if self._start_time is None:
            return self.timeout
        end = time.monotonic() if self._end_time is None else self._end_time
        return self.timeout - (end - self._start_time)


def _steady_timers(provider: DULServiceProvider) -> None:
    for name in ("artim_timer", "_idle_timer"):
        old: Timer = getattr(provider, name)
        steady = _SteadyTimer(old.timeout)
        if old._start_time is not None:
            steady.start()
        setattr(provider, name, steady)


def _received(opened: socket.socket, length: int, end: float) -> bytearray:
    """Read `length` bytes, or fewer if the other side closes.

    Raises
    ------
    TimeoutError
        Not all of them came before `end`.
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
