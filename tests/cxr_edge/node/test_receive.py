"""Senders that are silent, slow, too many, or send too much: each harms only itself."""

import contextlib
import io
import socket
import struct
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydicom.uid import ComputedRadiographyImageStorage
from pynetdicom import AE
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.dsutils import encode
from pynetdicom.sop_class import Verification

from benchmarks.node import images
from benchmarks.node.site import wait_for
from cxr_edge.images.limits import DEFAULT_LIMITS
from cxr_edge.node.config import DicomDestination, Receive, Tls
from cxr_edge.node.destinations.dicom import DicomSender
from cxr_edge.node.intake import Intake, IntakeOutcome
from cxr_edge.node.queue import Queue
from cxr_edge.node.receive import Receiver
from tests.conftest import free_port
from tests.cxr_edge.node.certificates import make as make_certificates

#: pynetdicom leaves it to the garbage collection to close the sockets of some associations that it rejected.
pytestmark = [
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning"),
    pytest.mark.usefixtures("collected"),
]


class Listening:
    """A receiver with a queue; the fixture stops it at the end of the test."""

    def __init__(self, folder: Path, **settings) -> None:
        self.port = free_port()
        self.queue = Queue(folder)
        (folder / "images").mkdir()
        intake = Intake(folder / "images", self.queue, DEFAULT_LIMITS)
        self.receiver = Receiver(Receive(port=self.port, **settings), intake)
        self.receiver.start()

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=10)

    def associate(self):
        entity = AE(ae_title="XRAY1")
        entity.network_timeout = None  # else pynetdicom's own timer ends it, by the system's clock
        entity.add_requested_context(Verification)
        entity.add_requested_context(ComputedRadiographyImageStorage)
        return entity.associate("127.0.0.1", self.port, ae_title="CXREDGE")

    def echoes(self) -> bool:
        association = self.associate()
        if not association.is_established:
            return False
        answered = association.send_c_echo().Status == 0
        association.release()
        return answered


@pytest.fixture
def listening(tmp_path: Path) -> Iterator:
    started = []

    def start(**settings) -> Listening:
        started.append(Listening(tmp_path, **settings))
        return started[-1]

    yield start
    for one in started:
        one.receiver.stop(5)
        one.queue.close()


def ended(connection: socket.socket) -> bool:
    """Return whether the node closes the connection within ten seconds."""
    try:
        return connection.recv(1) in (b"", b"\x07")  # closed, or aborted first
    except ConnectionError:
        return True
    except TimeoutError:
        return False


def test_a_silent_connection_is_ended_and_delays_nobody(listening) -> None:
    node = listening(negotiation_seconds=1)
    with node.connect() as silent:
        assert node.echoes()
        assert ended(silent)


def test_a_silent_tls_handshake_delays_nobody(listening, tmp_path: Path) -> None:
    folder = make_certificates(tmp_path / "tls")

    def keys(name: str) -> Tls:
        return Tls(folder / f"{name}.crt", folder / f"{name}.key", folder / "ca.crt")

    node = listening(negotiation_seconds=5, tls=keys("node"))
    silent = [node.connect() for _ in range(8)]
    began = time.monotonic()
    destination = DicomDestination("node", "127.0.0.1", node.port, "CXREDGE", tls=keys("scanner"), tls_host_name="node")
    sender = DicomSender(destination)
    assert sender._connected().is_established
    assert time.monotonic() - began < 4, "the handshakes of others were waited for"
    sender.close()
    for connection in silent:
        assert ended(connection)
        connection.close()


@pytest.mark.parametrize("clock", ["runs", "stands still", "was set back", "was set forward"])
def test_an_association_that_falls_silent_is_ended(listening, monkeypatch: pytest.MonkeyPatch, clock: str) -> None:
    """Whatever the system's clock does, a silent association takes a place for its time alone."""
    now, moved = time.time, time.time()
    jump = {"was set back": -7200.0, "was set forward": 7200.0}.get(clock, 0.0)
    node = listening(idle_seconds=1)
    association = node.associate()
    assert association.is_established
    if clock != "runs":
        monkeypatch.setattr(time, "time", lambda: moved if clock == "stands still" else now() + jump)
    association.join(0.3)
    assert association.is_established
    association.join(10)
    assert association.is_aborted


def test_a_unit_of_four_gigabytes_is_not_waited_for(listening) -> None:
    node = listening()
    with node.connect() as hostile:
        hostile.sendall(struct.pack(">BBI", 1, 0, 0xFFFFFFFF) + bytes(1 << 16))
        assert ended(hostile)
    assert node.echoes()


@pytest.mark.parametrize("trickle", [False, True])
def test_a_unit_that_is_never_finished_is_ended(listening, trickle: bool) -> None:
    """A negotiation has its own time limit, however long an association may be silent later."""
    node = listening(negotiation_seconds=1)
    with node.connect() as hostile:
        hostile.sendall(struct.pack(">BBI", 1, 0, 1000) + bytes(10))
        began = time.monotonic()
        with contextlib.suppress(ConnectionError):
            while trickle and time.monotonic() < began + 10:
                hostile.sendall(b"\0")
                time.sleep(0.1)
        assert ended(hostile)
        assert time.monotonic() - began < 10


def test_requests_out_of_turn_are_ended(listening, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sender that does not wait for answers would fill the memory with images that wait for the intake."""
    node = listening()
    take = Intake.take

    def slowly(self, data: bytes, **options: str) -> IntakeOutcome:
        time.sleep(1)
        return take(self, data, **options)

    monkeypatch.setattr(Intake, "take", slowly)
    association = node.associate()
    message = C_STORE()
    message.MessageID, message.Priority = 1, 2
    for number in range(20):
        image = images.make(number)
        message.AffectedSOPClassUID, message.AffectedSOPInstanceUID = image.SOPClassUID, image.SOPInstanceUID
        message.DataSet = io.BytesIO(encode(image, is_implicit_vr=False, is_little_endian=True))
        association.dimse.send_msg(message, 3)
        time.sleep(0.2)
    association.join(10)
    assert association.is_aborted
    assert node.queue.counts()["image-waiting"] <= 2


def test_one_association_too_many_is_rejected(listening) -> None:
    node = listening(max_associations=2)
    two = [node.associate() for _ in range(2)]
    assert all(association.is_established for association in two)
    third = node.associate()
    assert third.is_rejected
    two[0].release()
    wait_for(node.echoes, "there is room again", 20)
    two[1].release()


def test_connections_are_bounded(listening) -> None:
    node = listening(max_associations=1)
    connections = [node.connect() for _ in range(30)]
    time.sleep(1)
    for connection in connections:
        connection.settimeout(0.1)
    assert sum(not ended(connection) for connection in connections) <= 1 + 8
    for connection in connections:
        connection.close()
    wait_for(node.echoes, "there is room again", 20)


def test_stopping_does_not_wait_for_silent_clients(listening, tmp_path: Path) -> None:
    node = listening()
    association = node.associate()
    assert association.send_c_store(images.make(0)).Status == 0
    with node.connect() as half:
        half.sendall(struct.pack(">BBI", 1, 0, 1000) + bytes(10))
        time.sleep(0.2)
        began = time.monotonic()
        node.receiver.stop(5)
        assert time.monotonic() - began < 5
        association.join(5)
        assert association.is_aborted
        assert ended(half)
    assert node.queue.counts()["image-waiting"] == 1
