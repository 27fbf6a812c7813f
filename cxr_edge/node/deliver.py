"""Delivery: one worker for each destination, which sends the results that wait for it."""

import random
import sqlite3
import threading
import time
from pathlib import Path
from typing import Final

from cxr_edge.node.background import Background
from cxr_edge.node.config import Destination
from cxr_edge.node.config import Queue as QueueConfig
from cxr_edge.node.destinations import Lost, Refused, Sender, Unreachable, sender_of
from cxr_edge.node.logs import kind_of, log, short
from cxr_edge.node.metrics import DELIVERED, DELIVERY_SECONDS
from cxr_edge.node.queue import Queue
from cxr_edge.node.records import Delivery
from cxr_edge.node.work import POLL_SECONDS, back_off

#: Objects that are sent before the queue is read again.
_BATCH: Final = 64


class DeliveryWorker(Background):
    """A thread that sends results to one destination, from `start` to `stop`.

    A destination that cannot be reached delays everything that waits for it; that counts as an attempt of none. An
    object that the destination refuses waits alone, and is a dead letter after `QueueConfig.attempts` refusals.
    """

    def __init__(
        self, destination: Destination, config: QueueConfig, queue: Queue, results: Path, changed: threading.Condition
    ) -> None:
        super().__init__(f"delivery worker {destination.name}")
        self.name = destination.name
        self._sender: Sender = sender_of(destination)
        self._config, self._queue, self._results, self._changed = config, queue, results, changed
        #: Failures in a row: the destination could not be reached, or accepted nothing.
        self.failures = 0
        #: Id of a delivery → how often it was deferred so that others come first.
        self._deferred: dict[int, int] = {}
        #: Objects sent so far; and id of a delivery → that count when the destination last gave no answer to it.
        self._successes = 0
        self._lost_at: dict[int, int] = {}

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                waiting = self._queue.due_deliveries(self.name, _BATCH)
                for delivery in waiting:
                    if self._stopping.is_set():
                        break
                    self._one(delivery)
            except Unreachable as error:
                self._back_off(f"accepts nothing: {error}")
            except sqlite3.Error as error:
                self._back_off(f"receives nothing, because the queue cannot be used: {error}")
            else:
                if not waiting:
                    self._sender.close()
                    with self._changed:
                        self._changed.wait(POLL_SECONDS)
        self._sender.close()

    def _one(self, delivery: Delivery) -> None:
        if not self._queue.is_waiting(delivery):
            return  # its image was corrected since the queue was read
        try:
            self._send(delivery)
        except Lost as error:
            self._lost(delivery, error)
            raise Unreachable(str(error)) from error
        except Refused as error:
            self.failures = 0
            self._refused(delivery, error)
            return
        except Unreachable as error:
            self._defer(delivery, error)
            raise
        if self.failures:
            log.info("%s accepts results again", self.name)
        what = "withdrew its %s from %s" if delivery.withdrawn else "delivered its %s to %s"
        log.debug(f"image %s: {what}", short(delivery.name), kind_of(delivery.object), self.name)
        self.failures = 0
        self._successes += 1
        self._deferred.pop(delivery.id, None)
        self._lost_at.pop(delivery.id, None)
        last = self._queue.mark_delivery_sent(delivery)
        DELIVERED.labels(self.name, "withdrawn" if delivery.withdrawn else "sent").inc()
        if last and not delivery.withdrawn:
            seconds = self._queue.now() - delivery.arrived
            DELIVERY_SECONDS.labels(self.name).observe(seconds)
            log.info("image %s: all results at %s, %.2f s after it came", short(delivery.name), self.name, seconds)

    def _send(self, delivery: Delivery) -> None:
        path = self._results / delivery.object
        try:
            if delivery.withdrawn:
                self._sender.withdraw(delivery.object)
            else:
                self._sender.send(path)
        except (Refused, Unreachable):
            raise
        except Exception as error:  # no object may end the delivery worker; the error's text may quote its data set
            if not delivery.withdrawn and not path.exists():
                raise Refused("its file is gone", forever=True) from error
            raise Lost(f"it could not be sent: {type(error).__name__}") from error

    def _defer(self, delivery: Delivery, why: Exception) -> None:
        """Let others come first: this object may be the reason that the destination does not answer."""
        before = self._deferred[delivery.id] = self._deferred.get(delivery.id, -1) + 1
        self._queue.defer_delivery(delivery, str(why), back_off(self._config, before))

    def _lost(self, delivery: Delivery, error: Lost) -> None:
        """Blame an object without an answer if others were answered meanwhile; else the destination."""
        before = self._lost_at.get(delivery.id, self._successes)
        self._lost_at[delivery.id] = self._successes
        if self._successes > before:
            self._refused(delivery, error)
        else:
            self._defer(delivery, error)

    def _refused(self, delivery: Delivery, error: Refused) -> None:
        DELIVERED.labels(self.name, "refused").inc()
        kind = kind_of(delivery.object)
        if error.forever or delivery.attempts + 1 >= self._config.attempts:
            log.error("image %s: its %s at %s is a dead letter: %s", short(delivery.name), kind, self.name, error)
            self._queue.mark_delivery_dead(delivery, "refused", str(error))
        else:
            wait = back_off(self._config, delivery.attempts)
            log.warning("image %s: its %s was refused by %s: %s; next attempt in %.0f s",
                        short(delivery.name), kind, self.name, error, wait)  # fmt: skip
            self._queue.postpone_delivery(delivery, "refused", str(error), wait)

    def _back_off(self, why: str) -> None:
        """Wait, longer after each failure in a row; at random, so that nodes do not retry in step."""
        self._sender.close()
        wait = back_off(self._config, self.failures) * random.uniform(0.75, 1)  # noqa: S311 - no secret
        self.failures += 1
        log.warning("%s %s; next attempt in %.1f s", self.name, why, wait)
        DELIVERED.labels(self.name, "unreachable").inc()
        began, newest = time.monotonic(), self._newest()
        while not self._stopping.wait(min(wait, POLL_SECONDS)) and (waited := time.monotonic() - began) < wait:
            if waited > self._config.first_wait_seconds and self._newest() > newest:
                break  # new results need not wait for what failed before

    def _newest(self) -> int:
        try:
            return self._queue.newest_delivery(self.name)
        except sqlite3.Error:
            return 0
