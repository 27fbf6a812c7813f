"""Find the true end of a JPEG 2000 or HTJ2K codestream by its markers (ITU-T T.800, A; T.814, A)."""

import struct
from collections import Counter
from typing import Final, NamedTuple

from cxr_edge.errors import TooLarge, Truncated
from cxr_edge.images.surplus import surplus_of

END_MARKER: Final = b"\xff\xd9"
_SIZE, _TILE_PART, _START_OF_DATA = b"\xff\x51", b"\xff\x90", b"\xff\x93"
#: Bytes of a tile-part without data: its first segment, and the marker before its data (A.4.2, A.4.3).
_SHORTEST_PART: Final = 14
_MAX_SEGMENTS: Final = 1_000
#: A tile-part per tile is usual, and one per resolution, layer or component of a single tile.
_MAX_TILE_PARTS: Final = 100_000


class Extent(NamedTuple):
    """Offsets after the last tile-part and after the end marker; number of bytes in between, 0 for padding."""

    data_end: int
    end: int
    surplus: int


def find_extent(stream: bytes, start: int) -> Extent:
    """Walk a codestream from its start marker to its end marker.

    Raises
    ------
    Truncated
        A tile, a tile-part or the end marker is missing.
    TooLarge
        There are too many segments.
    struct.error
        It ends within a header.
    """
    at, tiles = _read_main_header(stream, start)
    found, stated = Counter[int](), dict[int, int]()
    while stream[at : at + 2] == _TILE_PART:
        if found.total() == _MAX_TILE_PARTS:
            raise TooLarge(
                f"expected at most {_MAX_TILE_PARTS} tile-parts in JPEG 2000, got more; export the image again"
            )
        tile, size, count = struct.unpack_from(">HIxB", stream, at + 4)
        found[tile] += 1
        stated[tile] = max(count, stated.get(tile, 1))
        at = _end_of_part(stream, at, size)
    if len(found) < tiles or any(found[tile] < count for tile, count in stated.items()):
        raise _damaged(f"{len(found)} of its {tiles} tiles are there, or parts of one are missing")
    end = stream.find(END_MARKER, at)
    if end < 0:
        raise _damaged("it has no end marker")
    return Extent(at, end + len(END_MARKER), surplus_of(stream, at, end))


def _read_main_header(stream: bytes, start: int) -> tuple[int, int]:
    """Return the offset of the first tile-part, and the number of tiles."""
    at, tiles = start + 2, 0
    for _ in range(_MAX_SEGMENTS):
        if stream[at : at + 2] == _TILE_PART:
            return at, tiles
        if stream[at : at + 2] == _SIZE:
            tiles = count_tiles(stream, at)
        at += 2 + struct.unpack_from(">H", stream, at + 2)[0]
    raise TooLarge(f"expected at most {_MAX_SEGMENTS} segments in a JPEG 2000 header, got more; export the image again")


def count_tiles(stream: bytes, at: int) -> int:
    """Count the tiles by marker SIZ (A.5.1), which is at an offset.

    Raises
    ------
    Truncated
        They have no size.
    struct.error
        The stream ends within the marker.
    """
    right, bottom, width, height, left, top = map(int, struct.unpack_from(">2I8x4I", stream, at + 6))
    if not width or not height:
        raise _damaged("its tiles have no size")
    return -(-(right - left) // width) * -(-(bottom - top) // height)


def _end_of_part(stream: bytes, at: int, size: int) -> int:
    """Return the offset after a tile-part; one without a size extends to the end marker (A.4.2)."""
    if size == 0:
        data = stream.find(_START_OF_DATA, at)
        end = stream.find(END_MARKER, data) if data >= 0 else -1
    else:
        end = at + size
    if not at + _SHORTEST_PART <= end <= len(stream):
        raise _damaged("it ends within a tile-part")
    return end


def _damaged(what: str) -> Truncated:
    return Truncated(f"the JPEG 2000 stream is damaged or cut off ({what}); copy the file again")
