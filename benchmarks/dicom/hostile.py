"""Hostile files: each must cost one error, in bounded time and memory."""

import io
import struct
import zlib
from collections.abc import Callable, Iterator

import imagecodecs
import numpy as np
import pydicom
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, generate_frames

from benchmarks.dicom import dicom_files
from benchmarks.dicom.dicom_files import DEFLATED, JPEG_2000, image, stored, with_stream, written
from benchmarks.dicom.hostile_streams import hostile_streams

JPEG_LOSSLESS = "1.2.840.10008.1.2.4.70"
JPEG_LS = "1.2.840.10008.1.2.4.80"
HTJ2K = "1.2.840.10008.1.2.4.201"
RLE = "1.2.840.10008.1.2.5"
PIXEL_DATA = b"\xe0\x7f\x10\x00"

#: Name, bytes, and the codes that the file may be refused with.
Expected = tuple[str, bytes, frozenset[str]]


def hostile_files(pixels: np.ndarray) -> Iterator[Expected]:
    """Make the files from a real image of 8 bits.

    Yields
    ------
    name : str
    data : bytes
    codes : frozenset of str
    """
    whole = image(pixels)
    data = written(whole)
    yield "deflate bomb, 2 MB to 2 GiB", _deflate_bomb(whole), frozenset({"too_large"})
    yield "deflate bomb before the pixels", _deflated_padding(whole), TOO_LARGE
    yield "deflated, cut at 60%", _cut(written(whole, DEFLATED), 0.6), frozenset({"truncated"})
    yield from _lying_codestreams(whole)
    yield from _nested(data)
    yield (
        "attribute of 4 GB",
        _before_pixels(data, struct.pack("<HH2sHI", 0x0009, 0x1001, b"OB", 0, 0xFFFFFFF0)),
        NO_PIXELS,
    )
    yield (
        "2,000,000 attributes",
        _before_pixels(data, struct.pack("<HH2sH", 9, 0x1002, b"LO", 0) * 2_000_000),
        TOO_LARGE,
    )
    yield "64 GB of native pixels", _changed(whole, Rows=65_535, Columns=65_535), TOO_LARGE
    yield "2,147,483,647 frames", _changed(whole, NumberOfFrames=2**31 - 1), frozenset({"multi_frame"})
    for share in (0.02, 0.3, 0.6, 0.99):
        yield f"native, cut at {share:.0%}", _cut(data, share), CUT
    for name, syntax in {
        "JPEG lossless": JPEG_LOSSLESS,
        "JPEG-LS": JPEG_LS,
        "JPEG 2000": JPEG_2000,
        "RLE": RLE,
    }.items():
        encoded = written(dicom_files.compressed(whole, syntax))
        for share in (0.3, 0.6, 0.99):
            yield f"{name}, cut at {share:.0%}", _cut(encoded, share), CUT
        yield (
            f"{name}, stream cut in whole fragments",
            _cut_stream(whole, syntax),
            frozenset({"truncated", "invalid_header"}),
        )
    yield "JPEG-LS, half of it missing before its end marker", _hollow(whole), DAMAGED
    yield "fragment longer than the file", _long_fragment(whole), frozenset({"truncated"})
    yield "preamble that is a program", b"MZ" + b"\x90" * 126 + data[128:], frozenset({"ok"})
    yield "RLE that expands 64 times", _rle_bomb(whole), frozenset({"blank", "decoder_failed"})
    yield "JPEG 2000 of 65,025 tiles", _tiles(whole), frozenset({"ok", "truncated", "decoder_failed"})
    yield "look-up table of no entries", _empty_lut(whole), frozenset({"ok"})
    yield "no attribute but the syntax", data[: data.index(b"\x08\x00\x16\x00UI")], NO_PIXELS
    yield from hostile_streams(whole)


NO_PIXELS = frozenset({"no_pixels"})
TOO_LARGE = frozenset({"too_large"})
DAMAGED = frozenset({"truncated", "decoder_failed"})
CUT = frozenset({"truncated", "no_pixels", "invalid_header"})


def _changed(ds: Dataset, **attributes: int) -> bytes:
    return written(image(stored(ds), **attributes))


def _before_pixels(data: bytes, elements: bytes) -> bytes:
    """Insert elements before Body Part Examined."""
    at = data.index(b"\x18\x00\x15\x00CS")
    return data[:at] + elements + data[at:]


def _deflate_bomb(ds: Dataset) -> bytes:
    """Deflate pixels of 2 GiB, as their length states."""
    return _deflated_zeros(ds, struct.pack("<HH2sHI", 0x7FE0, 0x10, b"OB", 0, 2**31))


def _deflated_padding(ds: Dataset) -> bytes:
    """Deflate a private attribute of 2 GiB."""
    return _deflated_zeros(ds, struct.pack("<HH2sHI", 0x0009, 0x1001, b"OB", 0, 2**31))


def _deflated_zeros(ds: Dataset, before: bytes) -> bytes:
    head = written(ds, DEFLATED)
    meta_end = 128 + 4 + 12 + struct.unpack_from("<I", head, 140)[0]
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    zeros = bytes(2**24)
    body = [packer.compress(before), *(packer.compress(zeros) for _ in range(128))]
    return head[:meta_end] + b"".join(body) + packer.flush()


def _cut(data: bytes, share: float) -> bytes:
    return data[: int(len(data) * share)]


def _lying_codestreams(ds: Dataset) -> Iterator[Expected]:
    """Make codestreams whose own header states 65,500 or 40,000 pixels a side, unlike the DICOM header."""
    for name, syntax, patch in (
        ("JPEG lossless, 65500x65500", JPEG_LOSSLESS, _patched_jpeg(b"\xff\xc3")),
        ("JPEG-LS, 65500x65500", JPEG_LS, _patched_jpeg(b"\xff\xf7")),
        ("JPEG 2000, 40000x40000", JPEG_2000, _patched_jpeg_2000),
        ("HTJ2K, 40000x40000", HTJ2K, _patched_jpeg_2000),
    ):
        lying = dicom_files.compressed(ds, syntax)
        stream = patch(next(generate_frames(lying.PixelData, number_of_frames=1)))
        lying.PixelData = encapsulate([stream])
        yield name, written(lying), frozenset({"header_mismatch"})
    huge = dicom_files.compressed(ds, RLE)
    huge.Rows = huge.Columns = 60_000
    yield "RLE, 60000x60000 by its header", written(huge), frozenset({"too_large"})
    huge.Rows = huge.Columns = 9_999
    yield "RLE, 9999x9999 by its header", written(huge), frozenset({"truncated"})


def _patched_jpeg(marker: bytes) -> Callable[[bytes], bytes]:
    def patch(stream: bytes) -> bytes:
        patched = bytearray(stream)
        struct.pack_into(">HH", patched, patched.index(marker) + 5, 65_500, 65_500)
        return bytes(patched)

    return patch


def _patched_jpeg_2000(stream: bytes) -> bytes:
    patched = bytearray(stream)
    at = patched.index(b"\xff\x51")
    struct.pack_into(">II", patched, at + 6, 40_000, 40_000)
    struct.pack_into(">II", patched, at + 22, 40_000, 40_000)
    return bytes(patched)


def _nested(data: bytes) -> Iterator[Expected]:
    begin = struct.pack("<HH2sHI", 0x0040, 0xA730, b"SQ", 0, 0xFFFFFFFF) + struct.pack(
        "<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF
    )
    end = struct.pack("<HHI", 0xFFFE, 0xE00D, 0) + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
    at = data.index(b"\x28\x00\x02\x00US")
    for depth in (200, 5_000, 200_000):
        yield (
            f"{depth} nested sequences",
            data[:at] + begin * depth + end * depth + data[at:],
            frozenset({"invalid_header", "too_large"}),
        )


def _cut_stream(ds: Dataset, syntax: str) -> bytes:
    encoded = dicom_files.compressed(ds, syntax)
    stream = next(generate_frames(encoded.PixelData, number_of_frames=1))
    encoded.PixelData = encapsulate([stream[: len(stream) // 2]])
    return written(encoded)


def _hollow(ds: Dataset) -> bytes:
    """Cut out the second half of a stream, but keep its end marker: CharLS searches for it for long."""
    encoded = dicom_files.compressed(ds, JPEG_LS)
    stream = next(generate_frames(encoded.PixelData, number_of_frames=1))
    encoded.PixelData = encapsulate([stream[: len(stream) // 2] + b"\xff\xd9"])
    return written(encoded)


def _long_fragment(ds: Dataset) -> bytes:
    data = bytearray(written(dicom_files.compressed(ds, JPEG_LS)))
    at = data.rindex(PIXEL_DATA) + 12
    struct.pack_into("<I", data, data.index(b"\xfe\xff\x00\xe0", at + 8) + 4, 0xFFFFFFF0)
    return bytes(data)


def _rle_bomb(ds: Dataset) -> bytes:
    """Make runs of 128 equal bytes, 64 times as many pixels as the header states."""
    runs = b"\x81\x00" * (ds.Rows * ds.Columns // 2)
    return written(with_stream(ds, RLE, struct.pack("<16I", 1, 64, *[0] * 14) + runs))


def _tiles(ds: Dataset) -> bytes:
    stream = imagecodecs.jpeg2k_encode(stored(ds), codecformat="j2k", reversible=True)
    patched = bytearray(stream)
    struct.pack_into(">II", patched, patched.index(b"\xff\x51") + 22, -(-ds.Columns // 255), -(-ds.Rows // 255))
    return written(with_stream(ds, JPEG_2000, bytes(patched)))


def _empty_lut(ds: Dataset) -> bytes:
    item = Dataset()
    item.LUTDescriptor = [0, 0, 8]
    item.LUTData = b""
    item["LUTData"].VR = "OW"
    changed = pydicom.dcmread(io.BytesIO(written(ds)))
    changed.VOILUTSequence = [item]
    return written(changed)
