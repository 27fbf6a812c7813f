"""The queue: what waits, what is tried again, what becomes a dead entry, what is forgotten."""

import resource
import signal
import sqlite3
import sys
import threading
import time
from pathlib import Path

import pytest

from cxr_edge.node.queue import Queue
from cxr_edge.node.records import Identity, KnownImage


@pytest.fixture
def queue(tmp_path: Path):
    queue = Queue(tmp_path)
    yield queue
    queue.close()


def named(name: str, pixels: str = "1", header: str = "") -> Identity:
    return Identity(name, pixels, header)


def test_an_image_is_taken_once_and_again_after_a_crash(tmp_path: Path, queue: Queue) -> None:
    queue.add(named("a", "1"))
    image = queue.take_image()
    assert image is not None
    assert (image.name, image.attempts) == ("a", 0)
    assert queue.take_image() is None
    after = Queue(tmp_path)  # as a node that starts after a crash
    again = after.take_image()
    assert again is not None
    assert (again.attempts, again.unfinished) == (0, 1)
    after.close()


def test_an_image_in_work_at_a_crash_lets_others_come_first(tmp_path: Path, queue: Queue) -> None:
    """An image that crashes the process each time delays no other, and a node that is killed often blames no image."""
    for name in ("a", "b", "c"):
        queue.add(named(name, "1"))
    taken = []
    for _ in range(6):
        after = Queue(tmp_path)
        taken.append(after.take_image().name)
        after.close()
    assert taken == ["a", "b", "c", "a", "b", "c"]


def test_an_image_is_added_once_unless_it_is_a_dead_letter(queue: Queue) -> None:
    queue.add(named("a", "1"))
    queue.add(named("a", "2"))
    assert (queue.known_image("a"), queue.known_image("b")) == (KnownImage(named("a", "1"), dead=False), None)
    queue.mark_image_dead(queue.take_image(), "internal", "")
    assert queue.known_image("a") == KnownImage(named("a", "1"), dead=True)
    queue.add(named("a", "2"))
    assert queue.known_image("a") == KnownImage(named("a", "2"), dead=False)
    assert queue.take_image().attempts == 0
    assert queue.counts()["image-waiting"] == 1


def test_no_image_is_taken_by_two_workers(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(300):
        queue.add(named(str(number), ""))
    taken: list[int] = []
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)

    def work() -> None:
        while (image := queue.take_image()) is not None:
            taken.append(image.id)
            queue.finish_image(image, [])

    workers = [threading.Thread(target=work) for _ in range(4)]
    try:
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
    finally:
        sys.setswitchinterval(before)
    assert sorted(taken) == list(range(1, 301))


def test_the_id_of_an_entry_is_never_used_again(queue: Queue) -> None:
    queue.add(named("a", "1"))
    queue.finish_image(queue.take_image(), [])
    queue.forget(queue.now() + 1, 0)
    queue.add(named("b", "1"))
    assert queue.entries()[0].id == "image-2"


def test_results_for_a_destination_that_is_not_configured_become_dead_letters(queue: Queue) -> None:
    queue.add(named("a", "1"))
    queue.finish_image(queue.take_image(), [("p", "a-x"), ("q", "a-x")])
    assert queue.mark_orphaned_dead(["q"]) == 1
    (entry,) = queue.entries("dead")
    assert (entry.destination, entry.code) == ("p", "no_destination")
    assert queue.replay(None, ["q"]) == 0
    assert queue.replay(None, ["p", "q"]) == 1


def test_results_wait_for_each_destination(queue: Queue) -> None:
    queue.add(named("a", "1"))
    queue.finish_image(queue.take_image(), [("p", "a-x"), ("p", "a-y"), ("q", "a-x")])
    first, second = queue.due_deliveries("p", 10)
    assert not queue.mark_delivery_sent(first)
    queue.postpone_delivery(second, "refused", "why", 60)
    assert queue.due_deliveries("p", 10) == []
    assert queue.mark_delivery_sent(queue.due_deliveries("q", 10)[0])
    queue.mark_delivery_dead(second, "refused", "why")
    assert queue.counts() == {
        "image-waiting": 0, "image-done": 1, "image-dead": 0,
        "delivery-waiting": 0, "delivery-sent": 2, "delivery-dead": 1,
    }  # fmt: skip
    (entry,) = queue.entries("dead")
    assert (entry.destination, entry.object, entry.attempts, entry.message) == ("p", "a-y", 1, "why")
    assert queue.replay([entry.id], ["p", "q"]) == 1
    assert queue.due_deliveries("p", 10)[0].attempts == 0


def test_only_finished_images_are_forgotten(queue: Queue) -> None:
    for name in ("a", "b", "c", "d"):
        queue.add(named(name, name))
        image = queue.take_image()
        if name == "d":
            queue.mark_image_dead(image, "internal", "")
        else:
            queue.finish_image(image, [("p", f"{name}-x")])
    queue.mark_delivery_sent(queue.due_deliveries("p", 1)[0])
    queue.mark_delivery_dead(queue.due_deliveries("p", 1)[0], "refused", "")
    now = queue.now()
    assert queue.forget(now - 60, now - 60) == ([], [])
    assert queue.forget(now + 1, now - 60) == (["a"], ["a-x"])
    assert sorted(queue.images()) == ["b", "c", "d"]
    assert queue.forget(now + 1, now + 1) == (["b", "d"], ["b-x"])  # dead letters too, but nothing that waits
    assert sorted(queue.images()) == ["c"]


YEAR = 366 * 86_400.0


@pytest.mark.parametrize("jump", [-YEAR, -7200.0, -200.0, 200.0, 7200.0, YEAR])
@pytest.mark.parametrize("restarted", [False, True], ids=["while it runs", "between two runs"])
def test_no_jump_of_the_clock_moves_a_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, jump: float, restarted: bool
) -> None:
    """What waits stays away for its time, and no longer than the longest wait, whatever the system's clock shows."""
    monotonic, wall = time.monotonic(), time.time()
    monkeypatch.setattr(time, "monotonic", lambda: monotonic)
    monkeypatch.setattr(time, "time", lambda: wall)
    queue = Queue(tmp_path, longest_wait=300)
    queue.add(named("a"))
    queue.add(named("b"))
    queue.finish_image(queue.take_image(), [("p", "a-x"), ("p", "a-y")])
    refused, deferred = queue.due_deliveries("p", 2)
    queue.postpone_delivery(refused, "refused", "why", 300)
    queue.defer_delivery(deferred, "why", 300)
    queue.postpone_image(queue.take_image(), "disk", "OSError", 300, counts=False)
    wall += jump
    if restarted:
        queue.close()
        monotonic = 5.0  # as after the machine was started again
        queue = Queue(tmp_path, longest_wait=300)
    monotonic += 290
    assert queue.take_image() is None
    assert queue.due_deliveries("p", 2) == []
    monotonic += 11
    assert queue.take_image().name == "b"
    assert [delivery.object for delivery in queue.due_deliveries("p", 2)] == ["a-x", "a-y"]
    queue.close()


@pytest.mark.parametrize("jump", [-YEAR, YEAR])
def test_no_jump_of_the_clock_ends_a_retention_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, jump: float
) -> None:
    """A dead letter is the last copy of an image: a wrong clock must not remove it, nor keep everything for ever."""
    monotonic, wall = time.monotonic(), time.time()
    monkeypatch.setattr(time, "monotonic", lambda: monotonic)
    monkeypatch.setattr(time, "time", lambda: wall)
    queue = Queue(tmp_path)
    queue.add(named("a"))
    queue.mark_image_dead(queue.take_image(), "internal", "")
    wall += jump
    for _ in range(3):  # runs of 10 s each
        assert queue.forget(queue.now() - 60, queue.now() - 60) == ([], [])
        monotonic += 10
        queue.keep_time()
        queue.close()
        monotonic -= 1000  # a start of the machine
        queue = Queue(tmp_path)
    monotonic += 31
    assert queue.forget(queue.now() - 60, queue.now() - 60) == (["a"], [])
    queue.close()


def test_a_wait_longer_than_the_longest_one_now_is_not_kept(tmp_path: Path) -> None:
    queue = Queue(tmp_path, longest_wait=3600)
    queue.add(named("a"))
    queue.postpone_image(queue.take_image(), "disk", "OSError", 3600, counts=False)
    assert queue.take_image() is None
    queue.close()
    queue = Queue(tmp_path, longest_wait=60)
    assert queue.take_image() is not None
    queue.close()


def states(queue: Queue) -> dict[str, str]:
    return {f"{entry.image} {entry.object or ''}".strip(): entry.state for entry in queue.entries()}


def test_what_came_of_an_earlier_header_is_replaced(queue: Queue) -> None:
    """Results that wait are not sent, those in a folder are withdrawn, and an archive keeps what it has."""
    queue.add(named("a", header="wrong"))
    old = [("archive", "old-x"), ("archive", "old-y"), ("folder", "old-x"), ("folder", "old-y"), ("folder", "a.json")]
    queue.finish_image(queue.take_image(), old)
    in_flight = queue.due_deliveries("archive", 2)
    queue.mark_delivery_sent(in_flight[0])
    for delivery in queue.due_deliveries("folder", 2):
        queue.mark_delivery_sent(delivery)
    queue.replace(named("a", header="right"), ["folder"])
    assert queue.known_image("a") == KnownImage(named("a", header="right"), dead=False)
    assert queue.due_deliveries("archive", 9) == []
    assert not queue.is_waiting(in_flight[1])
    queue.postpone_delivery(in_flight[1], "refused", "", 0)  # it was under way
    queue.mark_delivery_dead(in_flight[1], "refused", "")
    assert queue.due_deliveries("archive", 9) == []

    queue.finish_image(queue.take_image(), [("archive", "new-x"), ("folder", "new-x"), ("folder", "a.json")])
    to_folder = queue.due_deliveries("folder", 9)
    assert [(delivery.object, bool(delivery.withdrawn)) for delivery in to_folder] == [
        ("old-x", True), ("old-y", True), ("new-x", False), ("a.json", False),
    ]  # fmt: skip
    for delivery in (*to_folder, *queue.due_deliveries("archive", 9)):
        queue.mark_delivery_sent(delivery)
    assert states(queue) == {
        "a@1": "replaced", "a@1 old-x": "replaced", "a@1 old-y": "replaced",
        "a": "done", "a new-x": "sent", "a a.json": "sent",
    }  # fmt: skip


def test_an_image_that_is_corrected_in_work_is_worked_on_anew(queue: Queue) -> None:
    queue.add(named("a", header="wrong"))
    image = queue.take_image()
    queue.replace(named("a", header="right"), [])
    assert queue.take_image() is None, "two workers would write results of one name"
    assert not queue.finish_image(image, [("p", "old-x")])
    assert queue.due_deliveries("p", 9) == []
    again = queue.take_image()
    assert (again.name, again.id) == ("a", image.id + 1)
    assert queue.finish_image(again, [("p", "new-x")])
    assert [delivery.object for delivery in queue.due_deliveries("p", 9)] == ["new-x"]


@pytest.mark.parametrize("ends", ["postpone", "dead"])
def test_a_failure_of_an_image_that_was_corrected_counts_nowhere(queue: Queue, ends: str) -> None:
    queue.add(named("a", header="wrong"))
    image = queue.take_image()
    queue.replace(named("a", header="right"), [])
    if ends == "postpone":
        queue.postpone_image(image, "internal", "", 0, counts=True)
    else:
        queue.mark_image_dead(image, "internal", "")
    assert states(queue) == {"a@1": "replaced", "a": "waiting"}
    assert queue.take_image().attempts == 0


def test_a_replaced_entry_is_forgotten_without_the_files_of_its_successor(queue: Queue) -> None:
    queue.add(named("a", header="wrong"))
    queue.finish_image(queue.take_image(), [("p", "old-x"), ("p", "a.json")])
    queue.replace(named("a", header="right"), [])
    queue.finish_image(queue.take_image(), [("p", "new-x"), ("p", "a.json")])
    now = queue.now()
    assert queue.forget(now + 1, now + 1) == (["a@1"], ["old-x"])
    assert queue.known_image("a") is not None


def test_what_cannot_be_recorded_does_not_take_effect(tmp_path: Path) -> None:
    """A disk is full when a transaction is committed: no image is lost, and none is taken by two workers."""
    queue = Queue(tmp_path)
    queue.add(named("a", "1"))
    largest, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    full = (tmp_path / "queue.sqlite-wal").stat().st_size
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (full, hard))
        with pytest.raises(sqlite3.Error):
            queue.take_image()
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest, hard))
        image = queue.take_image()
        assert image is not None
        resource.setrlimit(resource.RLIMIT_FSIZE, ((tmp_path / "queue.sqlite-wal").stat().st_size, hard))
        with pytest.raises(sqlite3.Error):
            queue.finish_image(image, [("p", "a-x")])
        assert queue._taken == {image.id: image.name}
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest, hard))
        signal.signal(signal.SIGXFSZ, before)
    queue.release_image(image)
    again = queue.take_image()
    assert again is not None
    assert (again.attempts, again.unfinished) == (image.attempts, image.unfinished)
    queue.close()


def test_an_attempt_that_fails_by_no_fault_of_the_image_does_not_count(queue: Queue) -> None:
    queue.add(named("a", "1"))
    for _ in range(3):
        image = queue.take_image()
        assert (image.attempts, image.unfinished) == (0, 0)
        queue.release_image(image)  # as when the disk is so full that nothing can be recorded
        image = queue.take_image()
        assert (image.attempts, image.unfinished) == (0, 0)
        queue.postpone_image(image, "disk", "OSError", 0, counts=False)
    queue.postpone_image(queue.take_image(), "internal", "ValueError", 0, counts=True)
    assert queue.take_image().attempts == 1


def test_an_image_that_crashes_the_process_each_time_is_detected(tmp_path: Path) -> None:
    queue = Queue(tmp_path)
    queue.add(named("a", "1"))
    for attempt in range(3):
        queue.close()
        queue = Queue(tmp_path)
        image = queue.take_image()
        assert image is not None
        assert (image.attempts, image.unfinished) == (0, attempt)
    queue.postpone_image(image, "internal", "ValueError", 60, counts=True)
    assert queue.take_image() is None
    assert queue.oldest_waiting() is not None
    queue.close()
