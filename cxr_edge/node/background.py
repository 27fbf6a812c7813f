"""Work that goes on in a thread of its own, beside the others."""

import threading
from abc import ABC, abstractmethod


class Background(ABC):
    """A thread that works from `start` to `stop`; a subclass says at what."""

    def __init__(self, name: str) -> None:
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name)

    @property
    def alive(self) -> bool:
        """Whether the thread is at work."""
        return self._thread.is_alive()

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Finish what is at hand, and end."""
        self._stopping.set()
        if self._thread.ident is not None:  # it was started
            self._thread.join()

    @abstractmethod
    def _run(self) -> None:
        """Work until ``_stopping`` is set."""
