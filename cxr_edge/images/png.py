"""Read the header and decode the grey levels of a PNG file (PNG specification, third edition).

The chunks are walked here and every checksum is verified. A decoder gets only the header and the
image data: text, profiles, transparency and animations, which attacks use, never reach it. ISA-L
inflates the image data without holding the interpreter lock; the result is checked against the
header. kornia-rs (the `png` crate of Rust) then reverses the filters of samples of whole bytes, while
it holds the lock; OpenCV, half as fast, does so for smaller samples.
"""

import struct
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final, NamedTuple

import cv2
import kornia_rs
import numpy as np
import numpy.typing as npt
from isal import isal_zlib
from isal.igzip_lib import IsalError

from cxr_edge import errors
from cxr_edge.images.surplus import surplus_of, surplus_warnings
from cxr_edge.support.warnings import CodedWarning

Levels = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]

SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"

_GREY, _RGB, _PALETTE, _GREY_ALPHA, _RGBA = 0, 2, 3, 4, 6
#: Colour type → the bit depths it may have (table 11.1).
_DEPTHS: Final = {_GREY: (1, 2, 4, 8, 16), _RGB: (8, 16), _PALETTE: (1, 2, 4, 8), _GREY_ALPHA: (8, 16), _RGBA: (8, 16)}
_CHANNELS: Final = {_GREY: 1, _RGB: 3, _PALETTE: 1, _GREY_ALPHA: 2, _RGBA: 4}
#: Adam7: the first column and row of a pass, and the steps between its columns and rows (8.1).
_ADAM7: Final = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
_FILTER_TYPES: Final = 5
#: Most bytes in an uncompressed block of deflate (RFC 1951, 3.2.4).
_BLOCK: Final = 0xFFFF
#: Most that deflate adds to what it cannot compress, as a share: every block costs time, even one without content.
_EXPANSION: Final = 1 / 8
#: Bytes that are inflated at once.
_PIECE: Final = 2**20
#: The largest file that is read, in libpng's chunks of 8 KiB, has two thirds as many.
_MAX_CHUNKS: Final = 100_000


class Header(NamedTuple):
    """The IHDR chunk (11.2.1); sides in pixels, depth in bits per sample."""

    width: int
    height: int
    depth: int
    colour: int
    compression: int
    filtering: int
    interlacing: int


class _Chunk(NamedTuple):
    kind: bytes
    start: int  # of the data; the length of the data stands 8 bytes before it
    end: int  # of the data; the checksum follows


class _Contents(NamedTuple):
    palette: bytes
    idat: list[_Chunk]
    exif: bytes | None
    trailing: int  # bytes after the last chunk; 0 if they are padding


def read_header(data: bytes) -> Header:
    """Read the IHDR chunk.

    Raises
    ------
    Truncated
    """
    first = next(_chunks(data))
    if first.kind != b"IHDR" or first.end - first.start != 13:
        raise _damaged("it does not start with a header")
    _check_checksum(data, first)
    header = Header(*struct.unpack_from(">IIBBBBB", data, first.start))
    if header.depth not in _DEPTHS.get(header.colour, ()):
        raise _damaged(f"PNG does not define colour type {header.colour} with {header.depth} bits")
    if header.compression != 0 or header.filtering != 0 or header.interlacing > 1:
        raise _damaged("its header names a compression, filtering or interlacing that PNG does not define")
    return header


def decode(data: bytes, header: Header) -> tuple[Levels, bytes | None, tuple[CodedWarning, ...]]:
    """Decode to luma at the file's own depth, not yet upright.

    Returns
    -------
    levels : ndarray, (H, W) uint8 or uint16
        Samples of less than 8 bits are stretched to 8.
    exif : bytes or None
    warnings : tuple of CodedWarning
        Of bytes after the rows of the image, and after the last chunk.

    Raises
    ------
    Truncated, TooLarge, UnsupportedFormat
    """
    contents = _read_contents(data)
    if not contents.idat:
        raise _damaged("it contains no image data")
    rows, surplus = _inflate(data, header, contents.idat)
    if header.depth < 8:
        levels: Levels = _small_samples(header, rows)
    else:
        levels = _KINDS[header.colour, header.depth](header, rows)
    if header.colour == _PALETTE:
        levels = _look_up(levels, header.depth, contents.palette)
    return levels, contents.exif, surplus_warnings(surplus, contents.trailing)


def _chunks(data: bytes) -> Iterator[_Chunk]:
    """Walk the chunks up to IEND (5.3)."""
    at = len(SIGNATURE)
    for _ in range(_MAX_CHUNKS):
        if at + 12 > len(data):
            raise _damaged("it ends before its last chunk")
        length, kind = struct.unpack_from(">I4s", data, at)
        if not kind.isalpha():
            raise _damaged(f"{kind!r} is not a chunk type")
        if length > len(data) - at - 12:
            raise _damaged(f"it ends within a chunk of type {kind.decode()}")
        yield _Chunk(kind, at + 8, at + 8 + length)
        if kind == b"IEND":
            return
        at += 12 + length
    raise errors.TooLarge(f"expected at most {_MAX_CHUNKS} chunks in a PNG, got more; save it again")


def _read_contents(data: bytes) -> _Contents:
    palette, exif, idat, end = None, None, list[_Chunk](), 0
    for chunk in _chunks(data):
        _check_checksum(data, chunk)
        end = chunk.end + 4
        if chunk.kind == b"IDAT":
            if idat and idat[-1].end + 12 != chunk.start:
                raise _damaged("its image data is interrupted by another chunk")
            idat.append(chunk)
        elif chunk.kind == b"PLTE" and palette is None:
            palette = data[chunk.start : chunk.end]
        elif chunk.kind == b"eXIf" and exif is None:
            exif = data[chunk.start : chunk.end]
        elif chunk.kind == b"PLTE" or (chunk.kind == b"IHDR" and chunk.start != len(SIGNATURE) + 8):
            raise _damaged(f"it has two chunks of type {chunk.kind!r}")
        elif chunk.kind not in {b"IHDR", b"IEND"} and not chunk.kind[0] & 0x20:  # critical (5.4)
            raise errors.UnsupportedFormat(
                f"the PNG cannot be decoded without its chunk {chunk.kind!r}, which is not read; "
                "convert it to plain PNG"
            )
    return _Contents(palette or b"", idat, exif, surplus_of(data, end, len(data)))


def _check_checksum(data: bytes, chunk: _Chunk) -> None:
    stored = int.from_bytes(data[chunk.end : chunk.end + 4], "big")
    if isal_zlib.crc32(memoryview(data)[chunk.start - 4 : chunk.end]) != stored:
        raise _damaged(f"the checksum of a chunk of type {chunk.kind.decode()} does not match its content")


def _bare(header: Header, rows: bytes) -> bytes:
    """Build a PNG of the given header and inflated rows only, the rows stored uncompressed."""
    ihdr = struct.pack(">IIBBBBB", *header)
    blocks = _stored(rows)
    length = struct.pack(">I", sum(map(len, blocks)))
    return b"".join(
        (
            SIGNATURE,
            *(struct.pack(">I", len(ihdr)), b"IHDR", ihdr, _checksum(b"IHDR", [ihdr])),
            *(length, b"IDAT", *blocks, _checksum(b"IDAT", blocks)),
            *(b"\0\0\0\0", b"IEND", _checksum(b"IEND", [])),
        )
    )


def _stored(rows: bytes) -> list[bytes | memoryview]:
    """Return the parts of a zlib stream that stores its content uncompressed (RFC 1950; RFC 1951, 3.2.4)."""
    parts: list[bytes | memoryview] = [b"\x78\x01"]
    for start in range(0, len(rows), _BLOCK):
        block = memoryview(rows)[start : start + _BLOCK]
        last = start + _BLOCK >= len(rows)
        parts += (struct.pack("<BHH", last, len(block), len(block) ^ 0xFFFF), block)
    return [*parts, struct.pack(">I", isal_zlib.adler32(rows))]


def _checksum(kind: bytes, parts: Iterable[bytes | memoryview]) -> bytes:
    crc = isal_zlib.crc32(kind)
    for part in parts:
        crc = isal_zlib.crc32(part, crc)
    return struct.pack(">I", crc)


def _decode_whole_bytes(header: Header, rows: bytes) -> npt.NDArray[Any]:
    """Decode samples of 8 or 16 bits of grey, RGB or RGBA, as they are stored: (H, W, C)."""
    decoder = kornia_rs.io.decode_image_png_u8 if header.depth == 8 else kornia_rs.io.decode_image_png_u16
    mode = {_GREY: "mono", _RGB: "rgb", _RGBA: "rgba"}[header.colour]
    bare = _bare(header, rows)
    try:
        return np.asarray(decoder(bare, (header.height, header.width), mode))
    except Exception as error:  # kornia-rs raises nothing more exact
        raise _damaged(str(error)) from error


def _grey(header: Header, rows: bytes) -> Levels:
    # Indices of a palette are stored like grey samples.
    return np.asarray(_decode_whole_bytes(header._replace(colour=_GREY), rows)[..., 0])


def _colour(header: Header, rows: bytes) -> Levels:
    code = cv2.COLOR_RGB2GRAY if header.colour == _RGB else cv2.COLOR_RGBA2GRAY
    stored = _decode_whole_bytes(header, rows)
    return np.asarray(cv2.cvtColor(stored, code), dtype=stored.dtype)


def _grey_alpha_8(header: Header, rows: bytes) -> Levels:
    # Filters and interlacing work on the bytes of a pixel (9.2), not on channels: 8 bits of grey
    # and 8 of transparency are stored like 16 bits of grey.
    return np.asarray(_grey(header._replace(depth=16), rows) >> 8, dtype=np.uint8)


def _grey_alpha_16(header: Header, rows: bytes) -> Levels:
    # Likewise, 16 bits of grey and 16 of transparency are stored like RGBA of 8 bits.
    stored = _decode_whole_bytes(header._replace(depth=8, colour=_RGBA), rows)
    return stored[..., :2].copy().view(">u2")[..., 0].astype(np.uint16)


_KINDS: Final[dict[tuple[int, int], Callable[[Header, bytes], Levels]]] = {
    (_GREY, 8): _grey,
    (_GREY, 16): _grey,
    (_PALETTE, 8): _grey,
    (_RGB, 8): _colour,
    (_RGB, 16): _colour,
    (_RGBA, 8): _colour,
    (_RGBA, 16): _colour,
    (_GREY_ALPHA, 8): _grey_alpha_8,
    (_GREY_ALPHA, 16): _grey_alpha_16,
}


def _small_samples(header: Header, rows: bytes) -> npt.NDArray[np.uint8]:
    """Decode samples of 1, 2 or 4 bits, stretched to 8."""
    # OpenCV would pad image data that ends early, and libpng would print warnings: these rows are complete.
    bare = _bare(header._replace(colour=_GREY), rows)
    levels = cv2.imdecode(np.frombuffer(bare, np.uint8), cv2.IMREAD_GRAYSCALE)
    if levels is None or levels.shape != (header.height, header.width):
        raise _damaged("its image data cannot be decoded")
    return np.asarray(levels, dtype=np.uint8)


def _inflate(data: bytes, header: Header, idat: list[_Chunk]) -> tuple[bytes, int]:
    """Inflate the rows of the image: all of them, each with a known filter (9.2); also count bytes that follow them.

    Bytes that follow are counted up to one more row: then the header states too few.
    """
    pixel_bits = header.depth * _CHANNELS[header.colour]
    passes = [(rows, 1 + (columns * pixel_bits + 7) // 8) for columns, rows in _passes(header)]
    size = sum(rows * row_bytes for rows, row_bytes in passes)
    try:
        compressed = b"".join([memoryview(data)[chunk.start : chunk.end] for chunk in idat])
        inflated, more = _inflate_up_to(size, passes[-1][1], compressed)
    except IsalError as error:  # type: ignore[misc]  # its stub declares an instance, not a class
        raise _damaged(str(error)) from error
    if len(inflated) < size:
        raise _damaged("its image data ends early")
    start = 0
    for rows, row_bytes in passes:
        end = start + rows * row_bytes
        if max(inflated[start:end:row_bytes]) >= _FILTER_TYPES:
            raise _damaged("a row names a filter that PNG does not define")
        start = end
    return inflated, surplus_of(more, 0, len(more))


def _inflate_up_to(size: int, further: int, compressed: bytes) -> tuple[bytes, bytes]:
    """Inflate at most a number of bytes, and so many further ones; only while they are about as many as their input."""
    inflater, parts, inflated, fed = isal_zlib.decompressobj(), list[bytes](), 0, 0
    for start in range(0, len(compressed), _PIECE):
        if inflated == size or inflater.eof:
            break
        parts.append(inflater.decompress(memoryview(compressed)[start : start + _PIECE], size - inflated))
        inflated, fed = inflated + len(parts[-1]), start + _PIECE
        if start > inflated * (1 + _EXPANSION) + _PIECE:
            raise _damaged("its image data are longer than what they contain")
    rest = b"" if inflater.eof else inflater.unconsumed_tail + compressed[fed : fed + _PIECE]
    return b"".join(parts), inflater.decompress(rest, further) if rest else b""


def _passes(header: Header) -> list[tuple[int, int]]:
    """Return the columns and rows of each pass that has any."""
    if not header.interlacing:
        return [(header.width, header.height)]
    sizes = [(-((x - header.width) // dx), -((y - header.height) // dy)) for x, y, dx, dy in _ADAM7]
    return [(columns, rows) for columns, rows in sizes if columns > 0 and rows > 0]


def _look_up(stretched: Levels, depth: int, palette: bytes) -> npt.NDArray[np.uint8]:
    """Replace palette indices by the luma of their entries (11.2.2)."""
    indices = stretched // (255 // (2**depth - 1))
    colours = np.frombuffer(palette, np.uint8)
    if len(colours) % 3 or len(colours) <= 3 * int(indices.max()):
        raise _damaged(
            f"its image data uses {int(indices.max()) + 1} colours, its palette contains {len(colours) // 3}"
        )
    lumas = cv2.cvtColor(colours.reshape(1, -1, 3), cv2.COLOR_RGB2GRAY)[0]
    return np.asarray(lumas[indices], dtype=np.uint8)


def _damaged(what: str) -> errors.Truncated:
    return errors.Truncated(f"the PNG is damaged or cut off ({what}); copy it again")
