"""Join the fragments of compressed pixels to the codestream of one frame."""

import struct

from cxr_edge.errors import InvalidHeader, NoPixels, Truncated
from cxr_edge.images.dicom.agreement import check_one_frame
from cxr_edge.images.dicom.header import tags
from cxr_edge.images.dicom.header.parse import Encoded


def fragments(encoded: Encoded) -> bytes:
    """Join the fragments of a single frame's codestream (PS3.5, A.4).

    Raises
    ------
    InvalidHeader, NoPixels, Truncated, HeaderMismatch
    """
    value, at, found = encoded.pixels, 0, []
    while encoded.delimited or at < len(value):
        if at + 8 > len(value):
            raise Truncated("the fragments of the compressed pixels end early; copy the file again")
        group, element, length = struct.unpack_from("<HHI", value, at)
        tag, at = group << 16 | element, at + 8
        if tag == tags.SEQUENCE_DELIMITER:
            break
        if tag != tags.ITEM:
            raise InvalidHeader("expected fragments in the compressed pixels, got something else; copy the file again")
        if at + length > len(value):
            raise Truncated("a fragment of the compressed pixels ends early; copy the file again")
        found.append(value[at : at + length])
        at += length
    if len(found) < 2:  # the first item is the table of offsets
        raise NoPixels("expected compressed pixels, got no fragment; export the image again")
    check_one_frame(encoded.syntax, found[0], found[1:])
    return b"".join(found[1:])
