"""The interface of senders, and their exceptions."""

from pathlib import Path
from typing import Protocol


class Unreachable(Exception):
    """The destination does not answer, or accepts nothing at the moment. The message quotes no data set."""


class Refused(Exception):
    """The destination does not accept this object.

    Attributes
    ----------
    forever : bool
        Whether it never will.
    """

    def __init__(self, why: str, *, forever: bool = False) -> None:
        super().__init__(why)
        self.forever = forever


class Lost(Refused):
    """The destination gave no answer to this object: either may be at fault, so both wait."""


class Sender(Protocol):
    """Sends to one destination; used by one thread."""

    def send(self, path: Path) -> None:
        """Send a result, and return once the destination confirms that it has it.

        Raises
        ------
        Unreachable, Refused
        """

    def withdraw(self, name: str) -> None:
        """Remove a result that was sent, because one with corrected data replaces it.

        Raises
        ------
        Unreachable
        Refused
            The destination keeps what it has, as archives do.
        """

    def close(self) -> None:
        """End the connection, if there is one."""
