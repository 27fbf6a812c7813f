"""Read what a compressed image states in its own header, before anything is decoded."""

import struct
from collections.abc import Iterator
from typing import Final, NamedTuple

from cxr_edge.errors import HeaderMismatch, Truncated
from cxr_edge.images import jpeg_frame
from cxr_edge.images.dicom.codestreams.jpeg_2000 import count_tiles
from cxr_edge.images.dicom.header.layout import ColourSpace
from cxr_edge.images.jpeg_frame import JPEG_LS, START_OF_FRAME

JPEG: Final = b"\xff\xd8"
JPEG_2000: Final = b"\xff\x4f\xff\x51"
JPEG_2000_FILE: Final = b"\x00\x00\x00\x0cjP  \r\n\x87\n"

_LOSSLESS_FRAMES: Final = {0xC3, 0xC7, 0xCB, 0xCF}
_START_OF_SCAN: Final = 0xDA
_END: Final = 0xD9
#: Application segments that state colours: APP0 of JFIF, and APP14 of Adobe.
_JFIF: Final = 0xE0
_ADOBE: Final = 0xEE
#: Where Adobe's segment has its colour transform.
_ADOBE_TRANSFORM: Final = 11
#: Tiles of JPEG 2000: the index of a tile has 16 bits (T.800, A.4.2).
_MAX_TILES: Final = 65_535
#: Markers of JPEG 2000 (T.800, table A.2): coding style, and the start of a tile part, which ends the main header.
_CODING_STYLE: Final = 0xFF52
_START_OF_TILE: Final = 0xFF90


class Frame(NamedTuple):
    """What a codestream states about its image.

    Attributes
    ----------
    rows, columns : int
    samples : int
        Per pixel.
    bits : int
        Per sample.
    signed : bool or None
        None where the format cannot state it: in all but JPEG 2000.
    colours : ColourSpace or None
        What the three samples of a pixel are once decoded; None where the codestream does not state it.
    """

    rows: int
    columns: int
    samples: int
    bits: int
    signed: bool | None = None
    colours: ColourSpace | None = None


def read_frame(stream: bytes) -> Frame:
    """Read the header of a codestream of JPEG, JPEG-LS, JPEG 2000 or HTJ2K.

    Raises
    ------
    Truncated
        The stream is none of these, is cut off, or does not state its size.
    HeaderMismatch
        The components of a JPEG 2000 image differ in kind.
    """
    try:
        if (at := find_jpeg_2000(stream)) is not None:
            return _jpeg_2000(stream, at)
        if stream.startswith(JPEG):
            return _jpeg(stream)
    except (struct.error, IndexError) as error:
        raise Truncated("the codestream ends within its header; copy the file again") from error
    raise Truncated("expected a JPEG, JPEG-LS or JPEG 2000 codestream, got other data; copy the file again")


def find_jpeg_2000(stream: bytes) -> int | None:
    """Return where a JPEG 2000 codestream begins, in a file of its own (T.800, I) or bare; None if there is none."""
    if stream.startswith(JPEG_2000_FILE) and (at := stream.find(JPEG_2000)) > 0:
        return at
    return 0 if stream.startswith(JPEG_2000) else None


def _jpeg(stream: bytes) -> Frame:
    segments = list(_segments(stream))
    kind, segment = next((found for found in segments if found[0] in START_OF_FRAME), (0, b""))
    if not kind:
        raise Truncated("the JPEG header does not state a size; copy the file again")
    header = jpeg_frame.read_frame(kind, segment)
    colours = _jpeg_colours(segments, header) if header.samples == 3 else None
    return Frame(header.rows, header.columns, header.samples, header.bits, colours=colours)


def _segments(stream: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield each marker before the first scan, and its segment without the length."""
    at = 2
    while True:
        if stream[at] != 0xFF:
            raise Truncated("the JPEG header is damaged; copy the file again")
        marker = stream[at + 1]
        if marker == 0xFF:  # fill
            at += 1
            continue
        if marker in (_START_OF_SCAN, _END):
            return
        end = at + 2 + max(2, struct.unpack_from(">H", stream, at + 2)[0])
        yield marker, stream[at + 4 : end]
        at = end


def _jpeg_colours(segments: list[tuple[int, bytes]], frame: jpeg_frame.Frame) -> ColourSpace | None:
    """Return the colours that JPEG's markers state, by the rules that decoders share (libjpeg, jdapimin.c).

    A lossy image without a marker is luma and chroma, unless its components are named R, G and B.
    """
    if frame.marker == JPEG_LS:
        return None
    if any(marker == _JFIF and segment.startswith(b"JFIF\0") for marker, segment in segments):
        return ColourSpace.LUMA_CHROMA
    for marker, segment in segments:
        if marker == _ADOBE and segment.startswith(b"Adobe") and len(segment) > _ADOBE_TRANSFORM:
            return ColourSpace.RGB if segment[_ADOBE_TRANSFORM] == 0 else ColourSpace.LUMA_CHROMA
    if frame.marker in _LOSSLESS_FRAMES:
        return None
    names = bytes(component.identifier for component in frame.components)
    return ColourSpace.RGB if names == b"RGB" else ColourSpace.LUMA_CHROMA


def _jpeg_2000(stream: bytes, at: int) -> Frame:
    """Read marker SIZ (T.800, A.5.1)."""
    right, bottom, left, top = struct.unpack_from(">4I", stream, at + 8)
    samples = struct.unpack_from(">H", stream, at + 40)[0]
    components = stream[at + 42 : at + 42 + 3 * samples]
    if len(components) < 3 * samples or not samples:
        raise Truncated("the codestream ends within its header; copy the file again")
    if components != components[:3] * samples:
        raise HeaderMismatch(
            f"expected components of one kind in the codestream, got {samples} that differ; export the image again"
        )
    depth = components[0]
    if (tiles := count_tiles(stream, at + 2)) > _MAX_TILES:
        raise Truncated(f"expected at most {_MAX_TILES} tiles in JPEG 2000, got {tiles}; copy the file again")
    colours = ColourSpace.RGB if samples == 3 and (at or _transforms_components(stream, at)) else None
    return Frame(bottom - top, right - left, samples, (depth & 0x7F) + 1, bool(depth & 0x80), colours)


def _transforms_components(stream: bytes, at: int) -> bool:
    """Return whether the decoder turns three components into RGB (T.800, A.6.1, table A.17), as it does in a file."""
    at += 2
    while (marker := struct.unpack_from(">H", stream, at)[0]) != _START_OF_TILE:
        if marker == _CODING_STYLE:
            return stream[at + 8] == 1
        at += 2 + max(2, struct.unpack_from(">H", stream, at + 2)[0])
    return False
