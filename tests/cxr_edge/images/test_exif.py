"""Orientation from EXIF data of either byte order, or a refusal."""

import struct

import numpy as np
import pytest

from cxr_edge.images.exif import PREFIX, read_orientation


def tiff(entries: list[tuple[int, int, int, bytes]], order: str = "<", start: int = 8) -> bytes:
    table = b"".join(struct.pack(order + "HHL", tag, kind, count) + value for tag, kind, count, value in entries)
    head = struct.pack("<2sHL" if order == "<" else ">2sHL", b"II" if order == "<" else b"MM", 42, start)
    return head + bytes(start - 8) + struct.pack(order + "H", len(entries)) + table + bytes(4)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("start", [8, 100])
@pytest.mark.parametrize("prefix", [b"", PREFIX])
@pytest.mark.parametrize(("kind", "letter"), [(1, "B3x"), (3, "H2x"), (4, "L")])
def test_orientation_is_found(order, start, prefix, kind, letter):
    entries = [(0x0100, 2, 4, b"abc\0"), (0x0112, kind, 1, struct.pack(order + letter, 6)), (0x8769, 4, 1, b"\xff" * 4)]
    assert read_orientation(prefix + tiff(entries, order, start)) == 6


def test_no_orientation_is_upright():
    assert read_orientation(tiff([])) == 1
    assert read_orientation(tiff([(0x010F, 2, 4, b"abc\0")])) == 1


@pytest.mark.parametrize(
    "exif",
    [
        b"",
        PREFIX,
        b"garbage!",
        b"II*\0",
        b"II*\0\xff\xff\xff\xff",
        tiff([(0x0100, 3, 1, bytes(4))] * 9)[:40],
        b"II*\0\x08\0\0\0\xff\xff",
        tiff([(0x0112, 2, 1, b"6\0\0\0")]),
        tiff([(0x0112, 3, 2, b"\6\0\6\0")]),
    ],
)
def test_data_that_is_not_exif_is_refused(exif):
    with pytest.raises(ValueError, match=r"expected|ends"):
        read_orientation(exif)


def test_any_damage_is_refused_or_read():
    rng = np.random.default_rng(0)
    valid = tiff([(0x0112, 3, 1, b"\6\0\0\0"), (0x8769, 4, 1, bytes(4))])
    for _ in range(5000):
        data = bytearray(valid[: rng.integers(1, len(valid) + 1)])
        for at in rng.integers(0, len(data), 3):
            data[at] = rng.integers(0, 256)
        try:
            assert isinstance(read_orientation(bytes(data)), int)
        except ValueError:
            continue
