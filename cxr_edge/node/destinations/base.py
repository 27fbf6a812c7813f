"""What every way to send has in common."""

from pathlib import Path
from typing import Protocol


class Unreachable(Exception):
    """The destination does not answer, or answers to nobody at the moment; its text quotes no data set."""


class Refused(Exception):
    """The destination does not take this object.

    Attributes
    ----------
    forever : bool
        It never will.
    """

    def __init__(self, why: str, *, forever: bool = False) -> None:
        super().__init__(why)
        self.forever = forever


class Lost(Refused):
    """The destination gave no answer to this object: one of the two is to blame, and both wait."""


class Sender(Protocol):
    """A way to one destination; used by one thread."""

    def send(self, path: Path) -> None:
        """Send a result, and return once the destination says that it has it.

        Raises
        ------
        Unreachable, Refused
        """

    def close(self) -> None:
        """End the connection, if there is one."""
