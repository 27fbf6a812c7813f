"""What the queue gives: images and deliveries that wait, and its entries as a person sees them."""

from dataclasses import dataclass
from typing import Literal

State = Literal["waiting", "done", "sent", "dead"]


@dataclass(frozen=True)
class Known:
    """What is known of an image: what makes two images of its name the same, and whether it is a dead letter."""

    identity: str
    dead: bool


@dataclass(frozen=True)
class QueuedImage:
    """An image that waits.

    Attributes
    ----------
    id : int
    name : str
        Hash of its SOP Instance UID, or of a picture's content; also the name of its file.
    attempts, unfinished : int
        How often it was taken up before and failed; and how often the process ended meanwhile.
    source : str or None
        Name of its file in a watched folder.
    """

    id: int
    name: str
    attempts: int
    unfinished: int
    source: str | None


@dataclass(frozen=True)
class Delivery:
    """A result object that waits for a destination.

    Attributes
    ----------
    id : int
    image : int
    name : str
        Of the image; see `QueuedImage`.
    object : str
        Its file.
    attempts : int
    received : float
        When the image came, in seconds since the epoch.
    """

    id: int
    image: int
    name: str
    object: str
    attempts: int
    received: float


@dataclass(frozen=True)
class QueueEntry:
    """An entry as ``cxr-edge node queue list`` shows it.

    Attributes
    ----------
    id : str
        ``image-N`` or ``delivery-N``.
    """

    id: str
    image: str
    destination: str | None
    object: str | None
    state: str
    attempts: int
    code: str | None
    message: str | None
    received: float
