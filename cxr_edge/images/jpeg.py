"""Read the header and decode the grey levels of a JPEG file (ITU-T T.81).

libjpeg-turbo decodes in strict mode, where damaged data is an error and not a warning.
"""

import struct
from typing import Final, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt
import simplejpeg

from cxr_edge import errors
from cxr_edge.images import exif

SIGNATURE: Final = b"\xff\xd8\xff"

_APP1, _START_OF_SCAN, _END_OF_IMAGE = 0xE1, 0xDA, 0xD9
_STANDALONE: Final = {0x01, *range(0xD0, 0xD8)}  # TEM and RSTm have no length (T.81, table B.1)
#: Frame headers (T.81, table B.1; T.87 for JPEG-LS) → the coding, None for those that are read.
_FRAMES: Final[dict[int, str | None]] = {
    0xC0: None,
    0xC1: None,
    0xC2: None,
    0xC3: "lossless",
    0xC5: "hierarchical",
    0xC6: "hierarchical",
    0xC7: "hierarchical",
    0xC9: None,
    0xCA: None,
    0xCB: "lossless",
    0xCD: "hierarchical",
    0xCE: "hierarchical",
    0xCF: "hierarchical",
    0xF7: "JPEG-LS",
}


class Header(NamedTuple):
    """Contents of the frame header and of APP1; sides in pixels."""

    width: int
    height: int
    channels: int
    exif: bytes | None


def read_header(data: bytes) -> Header:
    """Read the markers up to the first scan.

    Raises
    ------
    Truncated, UnsupportedFormat
    """
    frame, metadata = None, None
    at = 2
    while frame is None or data[at + 1 : at + 2] != bytes([_START_OF_SCAN]):
        marker, segment, at = _segment(data, at)
        if marker in _FRAMES and frame is None:
            frame = _frame(marker, segment)
        elif marker == _APP1 and metadata is None and segment.startswith(exif.PREFIX):
            metadata = segment
        elif marker in {_START_OF_SCAN, _END_OF_IMAGE}:
            raise _damaged("no frame header comes before the image data")
    return Header(*frame, metadata)


def _segment(data: bytes, at: int) -> tuple[int, bytes, int]:
    """Return the marker at an offset, its content without the length, and the next offset."""
    while data[at : at + 2] == b"\xff\xff":  # fill bytes (T.81, B.1.1.2)
        at += 1
    if len(data) < at + 2:
        raise _damaged("it ends within its header")
    if data[at] != 0xFF:
        raise _damaged(f"expected a marker at byte {at}")
    marker = data[at + 1]
    if marker in _STANDALONE:
        return marker, b"", at + 2
    length = int.from_bytes(data[at + 2 : at + 4], "big")
    end = at + 2 + length
    if length < 2 or end > len(data):
        raise _damaged("it ends within its header")
    return marker, data[at + 4 : end], end


def _frame(marker: int, segment: bytes) -> tuple[int, int, int]:
    """Return width, height and channels of a frame that can be decoded."""
    coding = _FRAMES[marker]
    if len(segment) < 6:
        raise _damaged("its frame header is too short")
    precision, height, width, channels = struct.unpack_from(">BHHB", segment)
    if coding is None and precision != 8:
        coding = f"{precision}-bit"
    if coding is None and channels not in {1, 3, 4}:
        coding = f"{channels}-channel"
    if coding is not None:
        raise errors.UnsupportedFormat(
            f"expected an 8-bit baseline or progressive JPEG, got a {coding} one; convert it to PNG"
        )
    return width, height, channels


def decode(data: bytes, header: Header) -> npt.NDArray[np.uint8]:
    """Decode to luma, not yet upright.

    Returns
    -------
    ndarray, (H, W) uint8

    Raises
    ------
    Truncated
    """
    space, depth = ("CMYK", 4) if header.channels == 4 else ("GRAY", 1)
    levels = np.empty((header.height, header.width, depth), np.uint8)
    try:
        decoded = simplejpeg.decode_jpeg(data, space, strict=True, buffer=levels)
    except ValueError as error:
        raise _damaged(str(error)) from error
    if decoded.shape != levels.shape:
        raise _damaged(f"its header states the shape {levels.shape}, its image data has {decoded.shape}")
    return levels[..., 0] if depth == 1 else _luma_of_inks(levels)


def _luma_of_inks(inks: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Convert CMYK to luma; JPEG files store it inverted, as Adobe does: 255 means that no ink is used."""
    colour = cv2.cvtColor(inks, cv2.COLOR_RGBA2GRAY)
    return np.asarray(cv2.multiply(colour, cv2.extractChannel(inks, 3), scale=1 / 255), dtype=np.uint8)


def _damaged(what: str) -> errors.Truncated:
    return errors.Truncated(f"the JPEG is damaged or cut off ({what}); copy it again")
