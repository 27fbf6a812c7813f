"""Destinations that are silent, full, half-way down, or behind a proxy that answers for them."""

import json
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from pydicom.uid import (
    Comprehensive3DSRStorage,
    ComprehensiveSRStorage,
    SecondaryCaptureImageStorage,
)
from pynetdicom import AE, evt

from benchmarks.dicom import dicom_files
from benchmarks.node import images
from benchmarks.node.site import wait_for
from cxr_edge.node.config import Destination, DicomDestination, FolderDestination, WebDestination
from cxr_edge.node.config import Queue as QueueConfig
from cxr_edge.node.deliver import DeliveryWorker
from cxr_edge.node.destinations import Lost, Refused, Unreachable, sender_of
from cxr_edge.node.queue import Queue
from cxr_edge.node.records import Identity

pytestmark = [
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning"),
    pytest.mark.usefixtures("collected"),
]


def result(folder: Path, number: int, sop_class: str = SecondaryCaptureImageStorage) -> Path:
    """Write an object to send."""
    path = folder / f"{number}.dcm"
    path.write_bytes(dicom_files.written(images.make(number, SOPClassUID=sop_class)))
    return path


@pytest.fixture
def moody() -> Iterator:
    """Start archives that give the answers of a function, and accept the given SOP classes."""
    servers = []

    def start(answer: Callable[[evt.Event], int], classes: tuple[str, ...] = (SecondaryCaptureImageStorage,)):
        entity = AE(ae_title="MOODY")
        for sop_class in classes:
            entity.add_supported_context(sop_class)
        servers.append(entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, answer)]))
        return DicomDestination("moody", "127.0.0.1", servers[-1].server_address[1], "MOODY", timeout_seconds=1)

    yield start
    for server in servers:
        server.ae.shutdown()


def test_what_a_status_means(moody, tmp_path: Path) -> None:
    statuses: list[int] = []
    sender = sender_of(moody(lambda _: statuses.pop()))
    path = result(tmp_path, 0)
    for stored in (0x0000, 0xB000, 0xB007, 0x0111):
        statuses.append(stored)
        sender.send(path)
    for about_the_destination in (0xA700, 0xA701, 0x0124):
        statuses.append(about_the_destination)
        with pytest.raises(Unreachable, match=f"{about_the_destination:04X}"):
            sender.send(path)
    for about_the_object, forever in ((0xC000, False), (0xA900, False), (0x0110, False), (0x0122, True)):
        statuses.append(about_the_object)
        with pytest.raises(Refused, match=f"{about_the_object:04X}") as refused:
            sender.send(path)
        assert refused.value.forever == forever
    sender.close()


def test_an_archive_that_aborts_or_takes_too_long(moody, tmp_path: Path) -> None:
    def abort(event: evt.Event) -> int:
        event.assoc.abort()
        return 0

    def sleep(_: evt.Event) -> int:
        time.sleep(3)
        return 0

    for mood in (abort, sleep):
        sender = sender_of(moody(mood))
        with pytest.raises(Lost, match="no answer"):
            sender.send(result(tmp_path, 0))
        sender.close()


def test_an_archive_that_accepts_no_such_object(moody, tmp_path: Path) -> None:
    sender = sender_of(moody(lambda _: 0))
    with pytest.raises(Refused, match="no structured reports") as refused:
        sender.send(result(tmp_path, 0, Comprehensive3DSRStorage))
    assert refused.value.forever
    sender.close()


def test_a_report_in_the_class_that_is_accepted(moody, tmp_path: Path) -> None:
    received = []

    def store(event: evt.Event) -> int:
        received.append(event.request.AffectedSOPClassUID)
        return 0

    sender = sender_of(moody(store, (ComprehensiveSRStorage,)))
    sender.send(result(tmp_path, 0, Comprehensive3DSRStorage))
    sender.close()
    assert received == [ComprehensiveSRStorage]


@pytest.mark.parametrize(
    "sent",
    [b"", struct.pack(">BBI", 2, 0, 500) + bytes(20)],
    ids=["nothing", "half an acceptance"],
)
def test_an_archive_that_stops_half_way_delays_nothing_for_ever(tmp_path: Path, sent: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def accept() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(1 << 16)
                connection.sendall(sent)
                time.sleep(5)

        threading.Thread(target=accept, daemon=True).start()
        sender = sender_of(DicomDestination("half", "127.0.0.1", server.getsockname()[1], "HALF", timeout_seconds=1))
        began = time.monotonic()
        with pytest.raises(Unreachable):
            sender.send(result(tmp_path, 0))
        sender.close()
        assert time.monotonic() - began < 4


def test_nobody_is_there(tmp_path: Path) -> None:
    path = result(tmp_path, 0)
    for destination in (
        DicomDestination("none", "127.0.0.1", 1, "NONE", timeout_seconds=1),
        DicomDestination("none", "no-such-host.invalid", 104, "NONE", timeout_seconds=1),
        WebDestination("none", "http://127.0.0.1:1/dicom-web", timeout_seconds=1),
        WebDestination("none", "http://no-such-host.invalid/dicom-web", timeout_seconds=1),
        WebDestination("none", "https://127.0.0.1:99999/", timeout_seconds=1),
        WebDestination("none", "http://127.0.0.1:1/", timeout_seconds=1, token_file=tmp_path / "none"),
        FolderDestination("none", path / "below-a-file"),
    ):
        sender = sender_of(destination)
        with pytest.raises(Unreachable):
            sender.send(path)
        sender.close()


class Web:
    """An HTTP service that gives prepared answers, and records its requests."""

    def __init__(self) -> None:
        self.answers: list[tuple[int, dict[str, str], bytes]] = []
        self.requests: list[tuple[str, bytes]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                outer.requests.append((self.path, self.rfile.read(int(self.headers["Content-Length"]))))
                status, headers, content = outer.answers.pop(0)
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_POST  # noqa: N815 - a name of the base class's

            def log_message(self, *_: object) -> None:
                """Log nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}/dicom-web"


@pytest.fixture
def web() -> Iterator[Web]:
    web = Web()
    yield web
    web.server.shutdown()
    web.server.server_close()


JSON = {"Content-Type": "application/dicom+json; charset=utf-8"}


def outcome(path: Path, reason: int | None = None) -> bytes:
    """Return the answer of a STOW-RS service about an object (PS3.18, annex I)."""
    uid = str(images.make(int(path.stem)).SOPInstanceUID)
    item = {"00081155": {"vr": "UI", "Value": [uid]}}
    if reason is None:
        return json.dumps({"00081199": {"vr": "SQ", "Value": [item]}}).encode()
    return json.dumps(
        {"00081198": {"vr": "SQ", "Value": [item | {"00081197": {"vr": "US", "Value": [reason]}}]}}
    ).encode()


def test_what_a_web_answer_means(web: Web, tmp_path: Path) -> None:
    path = result(tmp_path, 0)
    sender = sender_of(WebDestination("web", web.url, timeout_seconds=1))
    for status, content in ((200, outcome(path)), (202, outcome(path)), (409, outcome(path, 0x0111))):
        web.answers.append((status, JSON, content))
        sender.send(path)
    assert web.requests[0][0] == "/dicom-web/studies"
    assert path.read_bytes() in web.requests[0][1]
    other = outcome(result(tmp_path, 1))
    for status, headers, content in (
        (200, {"Content-Type": "text/html"}, b"<html>Please log in</html>"),
        (200, {}, b""),
        (200, JSON, b"[]"),
        (200, JSON, b'{"00081199": 3}'),
        (200, JSON, other),
        (204, {}, b""),
        (302, {"Location": "/login"}, b""),
        (307, {"Location": "http://127.0.0.1:1/"}, b""),
        (401, {}, b""),
        (404, {}, b""),
        (409, {"Content-Type": "application/xml"}, b"<a/>"),
        (409, JSON, outcome(path, 0xA700)),
        (503, {"Retry-After": "120"}, b""),
        (200, JSON, b" " * (1 << 21)),
    ):
        web.answers.append((status, headers, content))
        with pytest.raises(Unreachable):
            sender.send(path)
    assert len(web.requests) == 3 + 14  # no redirect was followed
    for status, headers, content in ((400, {}, b""), (413, {}, b""), (409, JSON, outcome(path, 0xC000))):
        web.answers.append((status, headers, content))
        with pytest.raises(Refused):
            sender.send(path)
    sender.close()


def test_a_report_in_the_class_that_dicomweb_accepts(web: Web, tmp_path: Path) -> None:
    path = result(tmp_path, 0, Comprehensive3DSRStorage)
    sender = sender_of(WebDestination("web", web.url, timeout_seconds=1))
    web.answers += [(409, JSON, outcome(path, 0x0122))] * 3
    with pytest.raises(Refused, match="accepts no Comprehensive 3D SR") as refused:
        sender.send(path)
    assert refused.value.forever
    assert ComprehensiveSRStorage.encode() in web.requests[1][1]
    sender.close()


def test_a_folder_gets_files_that_others_can_read(tmp_path: Path) -> None:
    path, out = result(tmp_path, 0), tmp_path / "out"
    out.mkdir()
    left = out / ".cxr-edge-0123.part"
    left.touch()
    sender_of(FolderDestination("out", out)).send(path)
    (copy,) = out.iterdir()
    assert copy.read_bytes() == path.read_bytes()
    plain = tmp_path / "plain"
    plain.touch()
    assert copy.stat().st_mode == plain.stat().st_mode


def delivered(folder: Path, destination: Destination, queue: Queue, until: Callable[[], bool]) -> None:
    """Let a delivery worker run until a condition holds."""
    settings = QueueConfig(first_wait_seconds=0.05, longest_wait_seconds=0.2, attempts=3)
    worker = DeliveryWorker(destination, settings, queue, folder, threading.Condition())
    worker.start()
    try:
        wait_for(until, "it is delivered", 30)
        assert worker.alive
    finally:
        worker.stop()


@pytest.mark.parametrize("mood", ["refuses", "is silent", "is full"])
def test_an_object_that_the_archive_does_not_accept_delays_no_other(moody, tmp_path: Path, mood: str) -> None:
    bad = images.make(0).SOPInstanceUID

    def store(event: evt.Event) -> int:
        if event.request.AffectedSOPInstanceUID != bad:
            return 0x0000
        if mood == "is silent":
            event.assoc.abort()
        return {"refuses": 0xC000, "is silent": 0, "is full": 0xA700}[mood]

    queue = Queue(tmp_path)
    for number in range(5):
        queue.add(Identity(str(number), "", ""))
        queue.finish_image(queue.take_image(), [("moody", result(tmp_path, number).name)])
    delivered(tmp_path, moody(store), queue, lambda: queue.counts()["delivery-sent"] == 4)
    if mood == "refuses":
        delivered(tmp_path, moody(store), queue, lambda: queue.counts()["delivery-dead"] == 1)
        assert queue.entries("dead")[0].attempts == 2
    elif mood == "is silent":  # the object is blamed once others are sent again and again

        def sent_meanwhile() -> bool:
            number = len(queue.entries()) // 2
            queue.add(Identity(str(number), "", ""))
            queue.finish_image(queue.take_image(), [("moody", result(tmp_path, number).name)])
            return queue.counts()["delivery-dead"] == 1

        delivered(tmp_path, moody(store), queue, sent_meanwhile)
    else:
        assert queue.counts()["delivery-dead"] == 0
    queue.close()


def test_an_archive_that_never_answers_makes_no_dead_letters(moody, tmp_path: Path) -> None:
    requests = []

    def silent(event: evt.Event) -> int:
        requests.append(event.request.AffectedSOPInstanceUID)
        event.assoc.abort()
        return 0

    queue = Queue(tmp_path)
    for number in range(2):
        queue.add(Identity(str(number), "", ""))
        queue.finish_image(queue.take_image(), [("moody", result(tmp_path, number).name)])
    delivered(tmp_path, moody(silent), queue, lambda: len(requests) >= 8)
    assert queue.counts()["delivery-waiting"] == 2
    assert {entry.attempts for entry in queue.entries()} == {0}
    queue.close()


def test_what_comes_later_does_not_wait_for_what_failed(moody, tmp_path: Path) -> None:
    """One object that the archive is always too full for lengthens the waits; the next image is still sent soon."""
    bad = images.make(0).SOPInstanceUID
    destination = moody(lambda event: 0xA700 if event.request.AffectedSOPInstanceUID == bad else 0x0000)
    queue = Queue(tmp_path)
    queue.add(Identity("0", "", ""))
    queue.finish_image(queue.take_image(), [("moody", result(tmp_path, 0).name)])
    worker = DeliveryWorker(destination, QueueConfig(first_wait_seconds=0.5), queue, tmp_path, threading.Condition())
    worker.start()
    try:
        wait_for(lambda: worker.failures >= 4, "the waits are long", 30)
        queue.add(Identity("1", "", ""))
        queue.finish_image(queue.take_image(), [("moody", result(tmp_path, 1).name)])
        began = time.monotonic()
        wait_for(lambda: queue.counts()["delivery-sent"] == 1, "the other is sent", 30)
        assert time.monotonic() - began < 3  # and not 4 to 8
    finally:
        worker.stop()
        queue.close()


def test_a_result_whose_file_is_gone(moody, tmp_path: Path) -> None:
    queue = Queue(tmp_path)
    queue.add(Identity("0", "", ""))
    queue.finish_image(queue.take_image(), [("moody", "gone.dcm"), ("moody", result(tmp_path, 0).name)])
    delivered(tmp_path, moody(lambda _: 0), queue, lambda: queue.counts()["delivery-waiting"] == 0)
    (entry,) = queue.entries("dead")
    assert entry.message == "its file is gone"
    queue.close()


def test_a_folder_gets_what_was_corrected_in_the_place_of_what_was_wrong(tmp_path: Path) -> None:
    out = tmp_path / "out"
    queue = Queue(tmp_path)
    old, new = result(tmp_path, 0).name, result(tmp_path, 1).name
    (tmp_path / "a.json").write_text("wrong")

    def all_delivered() -> bool:
        return not queue.counts()["delivery-waiting"]

    queue.add(Identity("a", "pixels", "wrong"))
    queue.finish_image(queue.take_image(), [("out", old), ("out", "a.json")])
    delivered(tmp_path, FolderDestination("out", out), queue, all_delivered)
    assert sorted(path.name for path in out.iterdir()) == sorted([old, "a.json"])
    queue.replace(Identity("a", "pixels", "right"), ["out"])
    delivered(tmp_path, FolderDestination("out", out), queue, all_delivered)
    assert list(out.iterdir()) == [], "nobody must find the patient's wrong data meanwhile"
    (tmp_path / "a.json").write_text("right")
    queue.finish_image(queue.take_image(), [("out", new), ("out", "a.json")])
    delivered(tmp_path, FolderDestination("out", out), queue, all_delivered)
    assert sorted(path.name for path in out.iterdir()) == sorted([new, "a.json"])
    assert (out / "a.json").read_text() == "right"
    queue.close()


@pytest.mark.parametrize("kind", [DicomDestination("a", "127.0.0.1", 1, "A"), WebDestination("a", "http://127.0.0.1/")])
def test_an_archive_keeps_what_it_has(kind: Destination) -> None:
    with pytest.raises(Refused, match="archive") as raised:
        sender_of(kind).withdraw("a.dcm")
    assert raised.value.forever
