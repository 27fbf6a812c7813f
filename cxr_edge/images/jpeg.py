"""Read the header and decode the grey levels of a JPEG file (ITU-T T.81)."""

from typing import Final, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from cxr_edge import errors
from cxr_edge.images import jpeg_stream
from cxr_edge.images.jpeg_frame import JPEG_LS, LOSSLESS, UNREAD, Frame
from cxr_edge.images.libjpeg import decode_whole
from cxr_edge.images.limits import DEFAULT_LIMITS, InputLimits
from cxr_edge.images.surplus import surplus_warnings
from cxr_edge.support.warnings import CodedWarning

SIGNATURE: Final = b"\xff\xd8\xff"

#: Codings that DICOM may contain, but a JPEG file that is read may not.
_UNREAD: Final = {**UNREAD, LOSSLESS: "lossless", JPEG_LS: "JPEG-LS"}


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
    Truncated, UnsupportedFormat, TooLarge
    """
    frame, exif = jpeg_stream.read_header(data)
    _check_coding(frame)
    return Header(frame.columns, frame.rows, frame.samples, exif)


def _check_coding(frame: Frame) -> None:
    coding = _UNREAD.get(frame.marker)
    if coding is None and frame.bits != 8:
        coding = f"{frame.bits}-bit"
    if coding is None and frame.samples not in {1, 3, 4}:
        coding = f"{frame.samples}-channel"
    if coding is not None:
        raise errors.UnsupportedFormat(
            f"expected an 8-bit baseline or progressive JPEG, got a {coding} one; convert it to PNG"
        )


def decode(
    data: bytes, header: Header, limits: InputLimits = DEFAULT_LIMITS
) -> tuple[npt.NDArray[np.uint8], tuple[CodedWarning, ...]]:
    """Decode to luma, not yet upright.

    Returns
    -------
    levels : ndarray, (H, W) uint8
    warnings : tuple of CodedWarning
        Of surplus bytes.

    Raises
    ------
    Truncated, TooLarge
    """
    stream = jpeg_stream.read_stream(data, limits.max_scans)
    space, depth = ("CMYK", 4) if header.channels == 4 else ("GRAY", 1)
    levels = np.empty((header.height, header.width, depth), np.uint8)
    surplus = stream.surplus + decode_whole(stream.data, space, levels)
    warnings = surplus_warnings(surplus, stream.trailing)
    return (levels[..., 0] if depth == 1 else _luma_of_inks(levels)), warnings


def _luma_of_inks(inks: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Convert CMYK to luma; JPEG files store it inverted, as Adobe does: 255 means that no ink is used."""
    colour = cv2.cvtColor(inks, cv2.COLOR_RGBA2GRAY)
    return np.asarray(cv2.multiply(colour, cv2.extractChannel(inks, 3), scale=1 / 255), dtype=np.uint8)
