"""The mark of a picture that is a result of this software, such as an overlay, so that no run reads it as an image."""

import struct
import zlib
from typing import Final

from cxr_edge.images import jpeg, png
from cxr_edge.support.maker import SOFTWARE

#: A result of this software that comes back as an input.
RESULT: Final = f"result of {SOFTWARE}"

#: Where the first chunk of a PNG file ends: the signature, and IHDR (PNG, 11.2.2).
_IHDR_END: Final = 33
_SOFTWARE: Final = b"tEXtSoftware\0" + SOFTWARE.encode()
#: A chunk of text (PNG, 11.3.4.3).
_CHUNK: Final = struct.pack(">I", len(_SOFTWARE) - 4) + _SOFTWARE + struct.pack(">I", zlib.crc32(_SOFTWARE))

#: Where JFIF's first segment ends, without a thumbnail: SOI, and APP0 (JFIF 1.02).
_APP0_END: Final = 20
_COMMENT: Final = RESULT.encode()
#: A comment segment (ITU-T T.81, B.2.4.5).
_SEGMENT: Final = b"\xff\xfe" + struct.pack(">H", len(_COMMENT) + 2) + _COMMENT


def mark(picture: bytes | memoryview) -> bytes:
    """Return a picture with the mark after its first chunk or segment.

    Parameters
    ----------
    picture : bytes-like
        PNG; or JPEG that begins with JFIF's segment.
    """
    end, marking = (_IHDR_END, _CHUNK) if picture[: len(png.SIGNATURE)] == png.SIGNATURE else (_APP0_END, _SEGMENT)
    return b"".join((picture[:end], marking, picture[end:]))


def is_marked(data: bytes) -> bool:
    """Return whether a file has the mark."""
    if data.startswith(png.SIGNATURE):
        return data.startswith(_CHUNK, _IHDR_END)
    return data.startswith(jpeg.SIGNATURE) and data.startswith(_SEGMENT, _APP0_END)
