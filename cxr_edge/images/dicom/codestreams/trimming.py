"""Find the true end of a compressed image in its fragments, whatever its codec, and leave out what follows.

DICOM pads a codestream to an even length (PS3.5, A.4); some writers pad it further, or append data of their own.
"""

import re
import struct
from typing import Final, NamedTuple

from cxr_edge.errors import Truncated, UnsupportedFormat
from cxr_edge.images.dicom.codestreams import jpeg_2000
from cxr_edge.images.dicom.codestreams.codestream import JPEG, find_jpeg_2000
from cxr_edge.images.jpeg_frame import UNREAD
from cxr_edge.images.jpeg_stream import read_stream
from cxr_edge.images.limits import InputLimits
from cxr_edge.images.surplus import surplus_of

#: Padding, and then a start marker.
_PADDING_BEFORE: Final = re.compile(rb"[\x00 \r\n]+(?=\xff\xd8\xff|\xff\x4f\xff\x51)")


class Trimmed(NamedTuple):
    """A codestream up to its end marker, corrected; surplus bytes before and after the marker, 0 for padding."""

    stream: bytes
    surplus: int
    trailing: int


def trimmed(stream: bytes, limits: InputLimits) -> Trimmed:
    """Check that a codestream of JPEG, JPEG-LS, JPEG 2000 or HTJ2K is whole by its markers, and cut it at its end.

    Raises
    ------
    Truncated
        The stream is none of these, or something is missing.
    UnsupportedFormat
        It is JPEG of another coding.
    TooLarge
        A decoder would have too much to do.
    """
    if padding := _PADDING_BEFORE.match(stream):
        stream = stream[padding.end() :]
    try:
        if (at := find_jpeg_2000(stream)) is not None:
            return _trimmed_jpeg_2000(stream, at)
    except struct.error as error:
        raise Truncated("the codestream ends within its header; copy the file again") from error
    if stream.startswith(JPEG):
        jpeg = read_stream(stream, limits.max_scans)
        if coding := UNREAD.get(jpeg.frame.marker):
            raise UnsupportedFormat(
                f"expected baseline, extended or lossless JPEG of Huffman codes, got {coding}; export the image again"
            )
        return Trimmed(jpeg.data, jpeg.surplus, jpeg.trailing)
    raise Truncated("expected a JPEG, JPEG-LS or JPEG 2000 codestream, got other data; copy the file again")


def _trimmed_jpeg_2000(stream: bytes, at: int) -> Trimmed:
    extent = jpeg_2000.find_extent(stream, at)
    # What follows the codestream in a JP2 file are boxes (T.800, I), none of which the decoder needs.
    trailing = 0 if at else surplus_of(stream, extent.end, len(stream))
    whole = stream[: extent.data_end] + jpeg_2000.END_MARKER
    return Trimmed(whole, extent.surplus, trailing)
