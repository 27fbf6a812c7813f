"""The queue: what waits, what is tried again, what is a dead letter, what is forgotten."""

import sqlite3
import time
from pathlib import Path

import pytest

from cxr_edge.node.queue import Queue


@pytest.fixture
def queue(tmp_path: Path):
    queue = Queue(tmp_path)
    yield queue
    queue.close()


def test_a_film_is_taken_once_and_again_after_a_crash(tmp_path: Path, queue: Queue) -> None:
    queue.add("a", "1")
    film = queue.take_film()
    assert film is not None
    assert (film.name, film.attempts) == ("a", 0)
    assert queue.take_film() is None
    after = Queue(tmp_path)  # as a node that starts after a crash
    again = after.take_film()
    assert again is not None
    assert again.attempts == 1
    after.close()


def test_one_name_once(queue: Queue) -> None:
    queue.add("a", "1")
    with pytest.raises(sqlite3.IntegrityError):
        queue.add("a", "2")
    assert (queue.identity("a"), queue.identity("b")) == ("1", None)


def test_results_wait_for_each_peer(queue: Queue) -> None:
    queue.add("a", "1")
    queue.finish_film(queue.take_film(), [("p", "a-x"), ("p", "a-y"), ("q", "a-x")])
    first, second = queue.due("p", 10)
    assert not queue.sent(first)
    queue.postpone(second, "refused", "why", 60)
    assert queue.due("p", 10) == []
    assert queue.sent(queue.due("q", 10)[0])
    queue.bury(second, "refused", "why")
    assert queue.counts() == {
        "film-waiting": 0, "film-done": 1, "film-dead": 0,
        "delivery-waiting": 0, "delivery-sent": 2, "delivery-dead": 1,
    }  # fmt: skip
    (letter,) = queue.letters("dead")
    assert (letter.peer, letter.object, letter.attempts, letter.message) == ("p", "a-y", 1, "why")
    assert queue.replay([letter.id]) == 1
    assert queue.due("p", 10)[0].attempts == 0


def test_only_what_is_delivered_is_forgotten(queue: Queue) -> None:
    for name in ("a", "b", "c"):
        queue.add(name, name)
        queue.finish_film(queue.take_film(), [("p", f"{name}-x")])
    queue.sent(queue.due("p", 1)[0])
    queue.bury(queue.due("p", 1)[0], "refused", "")
    assert queue.forget(time.time() - 60) == ([], [])
    assert queue.forget(time.time() + 1) == (["a"], ["a-x"])
    assert sorted(queue.films()) == ["b", "c"]


def test_a_film_that_ends_the_process_each_time_is_found_out(tmp_path: Path) -> None:
    queue = Queue(tmp_path)
    queue.add("a", "1")
    for attempt in range(3):
        queue.close()
        queue = Queue(tmp_path)
        film = queue.take_film()
        assert film is not None
        assert film.attempts == attempt
    queue.postpone_film(film, "internal", "ValueError", 60)
    assert queue.take_film() is None
    assert queue.oldest_waiting() is not None
    queue.close()
