"""Hostile PNG and JPEG files and JPEG streams: little to read, much to do, or data that are missing without a trace."""

import struct
import zlib
from collections.abc import Iterator

import cv2
import imagecodecs
import numpy as np
from pydicom.dataset import Dataset

from benchmarks.dicom.dicom_files import BASELINE, CODECS, image, stored, with_stream, written

_END = b"\xff\xd9"
#: Side of the images that are expensive to visit.
_SIDE = 4000
_TOO_LARGE = frozenset({"too_large"})
_TRUNCATED = frozenset({"truncated"})


def hostile_streams(whole: Dataset) -> Iterator[tuple[str, bytes, frozenset[str]]]:
    """Make the files from an uncompressed grey image of 8 bits.

    Yields
    ------
    name : str
    data : bytes
    codes : frozenset of str
        The codes that the file may be refused with; ``ok`` if it may be read.
    """
    for scans in (40, 8000, 100_000):
        yield f"JPEG of {scans} scans", scan_bomb(_SIDE, scans), _TOO_LARGE
    flat = image(np.zeros((_SIDE, _SIDE), np.uint8))
    yield "JPEG of 8000 scans in DICOM", written(with_stream(flat, BASELINE, scan_bomb(_SIDE, 8000))), _TOO_LARGE
    jpeg = imagecodecs.jpeg8_encode(stored(whole), level=90)
    yield "JPEG of 4,000,000 comments", jpeg[:2] + b"\xff\xfe\0\2" * 4_000_000 + jpeg[2:], _TOO_LARGE
    yield "JPEG of 8,000,000 restart markers", jpeg[:-2] + b"\xff\xd0" * 8_000_000 + _END, frozenset({"ok"})
    yield "JPEG, 16 MB of fill bytes", jpeg[:2] + b"\xff" * 2**24 + jpeg[2:], frozenset({"ok"})
    for name, syntax in _HOLLOW.items():
        stream = jpeg if syntax == BASELINE else bytes(CODECS[syntax](stored(whole), 8))
        hollow = stream[: len(stream) // 2] + _END
        yield (
            f"{name}, half of it missing before its end marker",
            written(with_stream(whole, syntax, hollow)),
            _TRUNCATED,
        )
    yield from _hostile_pngs(stored(whole))


_HOLLOW = {
    "JPEG Baseline": BASELINE,
    "JPEG Lossless": "1.2.840.10008.1.2.4.70",
    "JPEG 2000": "1.2.840.10008.1.2.4.90",
    "HTJ2K": "1.2.840.10008.1.2.4.201",
}


def scan_bomb(side: int, scans: int) -> bytes:
    """Make a flat progressive JPEG with many empty scans; for each, a decoder visits every block."""
    blocks = ((side + 7) // 8) ** 2
    count = -(-blocks // (2**15 - 1))
    runs = [blocks // count + (number < blocks % count) for number in range(count)]  # 2**14 to 2**15 - 1 each
    one_code = bytes([1] + [0] * 15)
    empty = _segment(0xDA, b"\1\1\0\1\x3f\0") + _packed("".join(f"0{run - 2**14:014b}" for run in runs))
    return b"".join(
        (
            b"\xff\xd8",
            _segment(0xDB, b"\0" + b"\1" * 64),
            _segment(0xC2, struct.pack(">BHHB", 8, side, side, 1) + b"\1\x11\0"),
            _segment(0xC4, b"\0" + one_code + b"\0"),
            _segment(0xC4, b"\x10" + one_code + b"\xe0"),
            _segment(0xDA, b"\1\1\0\0\0\0") + _packed("0" * blocks),
            empty * scans,
            _END,
        )
    )


def _segment(marker: int, content: bytes) -> bytes:
    return bytes([0xFF, marker]) + struct.pack(">H", len(content) + 2) + content


def _packed(bits: str) -> bytes:
    """Pack bits as image data of a JPEG."""
    filled = bits + "1" * (-len(bits) % 8)
    return int(filled, 2).to_bytes(len(filled) // 8, "big").replace(b"\xff", b"\xff\0")


def _hostile_pngs(pixels: np.ndarray) -> Iterator[tuple[str, bytes, frozenset[str]]]:
    png = cv2.imencode(".png", pixels)[1].tobytes()
    at = png.index(b"IDAT") - 4
    bomb = zlib.compress(bytes(2**28), 9)
    ok = frozenset({"ok"})
    yield "PNG, text of 256 MiB compressed", png[:at] + _chunk(b"zTXt", b"a\0\0" + bomb) + png[at:], ok
    yield "PNG, profile of 256 MiB compressed", png[:at] + _chunk(b"iCCP", b"a\0\0" + bomb) + png[at:], ok
    yield "PNG of 500,000 chunks", png[:at] + _chunk(b"tIME", b"") * 500_000 + png[at:], _TOO_LARGE
    yield "PNG of 500,000 empty pieces of image data", png[:at] + _chunk(b"IDAT", b"") * 500_000 + png[at:], _TOO_LARGE
    yield "PNG, 256 MiB of image data for 16 million pixels", _flat_png(4000, bomb), frozenset({"blank"})
    yield "PNG, 32 MB of empty blocks", _flat_png(4000, b"\x78\x01" + empty_blocks(32_000_000)), _TRUNCATED


def _flat_png(side: int, compressed: bytes) -> bytes:
    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    chunks = (_chunk(b"IHDR", header), _chunk(b"IDAT", compressed), _chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def empty_blocks(size: int) -> bytes:
    """Make compressed blocks without content, each with Huffman tables of its own (RFC 1951, 3.2.7)."""
    lengths = {18: 1, 1: 1}  # of the codes for runs of zeros, and for codes of one bit
    order = (16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1)
    fields = [(0, 1), (2, 2), (0, 5), (0, 5), (len(order) - 4, 4), *((lengths.get(code, 0), 3) for code in order)]
    fields += [(0, 1), (1, 1), (127, 7), (1, 1), (106, 7), (0, 1), (0, 1), (1, 1)]  # byte 0, zeros, end; distance; end
    bits = "".join(f"{value:0{width}b}"[::-1] for value, width in fields) * 8
    block = int(bits[::-1], 2).to_bytes(len(bits) // 8, "little")
    return block * (size // len(block))
