"""Read the size of a compressed image from its header, before anything is decoded."""

import struct
from typing import Final, NamedTuple

from cxr_edge.errors import Truncated

JPEG: Final = b"\xff\xd8"
JPEG_2000: Final = b"\xff\x4f\xff\x51"
JPEG_2000_FILE: Final = b"\x00\x00\x00\x0cjP  \r\n\x87\n"

#: Start of frame: all of JPEG's (ITU-T T.81, table B.1), and that of JPEG-LS (T.87, C.1.1).
_START_OF_FRAME: Final = (set(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}) | {0xF7}
_START_OF_SCAN: Final = 0xDA
_END: Final = 0xD9
#: End of image, and of a JPEG 2000 codestream. Decoders fill in what is missing before it without an error.
_END_OF_STREAM: Final = b"\xff\xd9"
#: Tiles of JPEG 2000: the index of a tile has 16 bits (T.800, A.4.2).
_MAX_TILES: Final = 65_535


class Frame(NamedTuple):
    """Size of an image: pixels, samples per pixel, bits per sample."""

    rows: int
    columns: int
    samples: int
    bits: int


def read_frame(stream: bytes) -> Frame:
    """Read the size from a codestream of JPEG, JPEG-LS, JPEG 2000 or HTJ2K.

    Raises
    ------
    Truncated
        The stream is none of these, is cut off, or does not state its size.
    """
    if not stream.rstrip(b"\0").endswith(_END_OF_STREAM):
        raise Truncated("the codestream has no end marker, so it is cut off; copy the file again")
    try:
        if stream.startswith(JPEG_2000_FILE) and (at := stream.find(JPEG_2000)) > 0:
            return _jpeg_2000(stream, at)
        if stream.startswith(JPEG_2000):
            return _jpeg_2000(stream, 0)
        if stream.startswith(JPEG):
            return _jpeg(stream)
    except (struct.error, IndexError) as error:
        raise Truncated("the codestream ends within its header; copy the file again") from error
    raise Truncated("expected a JPEG, JPEG-LS or JPEG 2000 codestream, got other data; copy the file again")


def _jpeg(stream: bytes) -> Frame:
    at = 2
    while True:
        if stream[at] != 0xFF:
            raise Truncated("the JPEG header is damaged; copy the file again")
        marker = stream[at + 1]
        if marker == 0xFF:  # fill
            at += 1
            continue
        if marker in _START_OF_FRAME:
            bits, rows, columns, samples = struct.unpack_from(">BHHB", stream, at + 4)
            return Frame(rows, columns, samples, bits)
        if marker in (_START_OF_SCAN, _END):
            raise Truncated("the JPEG header does not state a size; copy the file again")
        at += 2 + max(2, struct.unpack_from(">H", stream, at + 2)[0])


def _jpeg_2000(stream: bytes, at: int) -> Frame:
    """Read marker SIZ (T.800, A.5.1)."""
    right, bottom, left, top, tile_width, tile_height, tile_left, tile_top = struct.unpack_from(">8I", stream, at + 8)
    samples = struct.unpack_from(">H", stream, at + 40)[0]
    bits = (stream[at + 42] & 0x7F) + 1
    if not tile_width or not tile_height:
        raise Truncated("the JPEG 2000 header has tiles of size 0; copy the file again")
    tiles = -(-(right - tile_left) // tile_width) * -(-(bottom - tile_top) // tile_height)
    if tiles > _MAX_TILES:
        raise Truncated(f"expected at most {_MAX_TILES} tiles in JPEG 2000, got {tiles}; copy the file again")
    return Frame(bottom - top, right - left, samples, bits)
