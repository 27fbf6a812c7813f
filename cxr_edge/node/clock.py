"""The node's own time: the seconds that nodes ran with one queue, whatever the system's clock shows.

A system's clock is set forward and back, by hand and by time servers, and after a start it may be years off. Retries
must not wait for it, and dead letters must not be forgotten because of it.
"""

import time


class NodeClock:
    """Counts on from the time at which the last process stopped; the time between processes does not count.

    Parameters
    ----------
    seconds : float
        The time to count on from.
    """

    def __init__(self, seconds: float) -> None:
        self._offset = seconds - time.monotonic()

    def now(self) -> float:
        """Return the node's time in seconds."""
        return self._offset + time.monotonic()
