"""Records that the queue returns: waiting images and deliveries, and entries for display."""

from dataclasses import dataclass
from typing import Literal

State = Literal["waiting", "done", "sent", "dead"]


@dataclass(frozen=True)
class KnownImage:
    """What the queue knows of an image.

    Attributes
    ----------
    identity : str
        Hash of its pixels, patient, study and series. Two images of the same name and identity are the same.
    dead : bool
        Whether it is a dead letter.
    """

    identity: str
    dead: bool


@dataclass(frozen=True)
class QueuedImage:
    """An image that waits.

    Attributes
    ----------
    id : int
    name : str
        SHA-256 of its SOP Instance UID, or of a PNG or JPEG file; also the name of its stored file.
    attempts, unfinished : int
        Earlier attempts that failed; and those during which the process ended.
    source : str or None
        Path of its file in the watched folder.
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
        Name of the image; see `QueuedImage`.
    object : str
        Name of the object's file.
    attempts : int
        Earlier attempts that were refused.
    received : float
        When the image was received, in seconds since the epoch.
    """

    id: int
    image: int
    name: str
    object: str
    attempts: int
    received: float


@dataclass(frozen=True)
class QueueEntry:
    """An entry of the queue, as ``cxr-edge node queue list`` shows it.

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
