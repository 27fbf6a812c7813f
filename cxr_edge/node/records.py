"""Records that the queue returns: waiting images and deliveries, and entries for display."""

from dataclasses import dataclass
from typing import Literal

State = Literal["waiting", "done", "sent", "dead", "replaced"]


@dataclass(frozen=True)
class Identity:
    """What tells an image from others.

    Attributes
    ----------
    name : str
        SHA-256 of its SOP Instance UID, or of a PNG or JPEG file.
    pixels : str
        SHA-256 of its encoded pixels; of PNG and JPEG the name. Two images of one name must not differ in it.
    header : str
        Hash of the attributes that results depend on; empty for PNG and JPEG. It changes when data are corrected.
    study : str
        SHA-256 of its Study Instance UID; empty for PNG and JPEG.
    """

    name: str
    pixels: str
    header: str
    study: str = ""


@dataclass(frozen=True)
class KnownImage:
    """What the queue knows of an image.

    Attributes
    ----------
    identity : Identity
    dead : bool
        Whether it is a dead letter.
    """

    identity: Identity
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
class QueuedStudy:
    """A study whose images are all done.

    Attributes
    ----------
    name : str
        SHA-256 of its Study Instance UID.
    images : tuple of (int, str)
        Id and name of each image, in the order they came.
    """

    name: str
    images: tuple[tuple[int, str], ...]


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
    arrived : float
        When the image was received, in the node's time.
    withdrawn : bool
        Whether the object is to be removed from the destination: results with corrected data replace it.
    """

    id: int
    image: int
    name: str
    object: str
    attempts: int
    arrived: float
    withdrawn: bool


@dataclass(frozen=True)
class QueueEntry:
    """An entry of the queue, as ``cxr-edge node queue list`` shows it.

    Attributes
    ----------
    id : str
        ``image-N`` or ``delivery-N``.
    received : float
        When the image was received, in seconds since the epoch.
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
