"""A base class for work in a thread of its own."""

import threading
from abc import ABC, abstractmethod


class Background(ABC):
    """A thread that works from `start` to `stop`; a subclass defines the work."""

    def __init__(self, name: str) -> None:
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name)

    @property
    def alive(self) -> bool:
        """Return whether the thread is running."""
        return self._thread.is_alive()

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Finish the current work, and end the thread."""
        self._stopping.set()
        if self._thread.ident is not None:  # joining a thread that was never started is an error
            self._thread.join()

    @abstractmethod
    def _run(self) -> None:
        """Work until ``_stopping`` is set."""
