"""Decoding: every way an image is stored, and a refusal with a code of everything else."""

import io
import os
import shutil
import struct
import tracemalloc
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from cxr_edge import errors, images
from tests.cxr_edge.images.pngs import make_png, png_chunk


def png(pixels: np.ndarray) -> bytes:
    return cv2.imencode(".png", pixels)[1].tobytes()


def png_header(width: int, height: int, depth: int = 8, colour: int = 0) -> bytes:
    """Return a PNG whose header states dimensions that its data does not have."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return make_png((b"IHDR", header), (b"IDAT", zlib.compress(b"\0" * 10)), (b"IEND", b""))


def grey_alpha_16(levels: np.ndarray) -> bytes:
    """Return a PNG of colour type 4 with 16 bits, which neither OpenCV nor Pillow writes."""
    height, width = levels.shape
    rows = np.zeros((height, 1 + 4 * width), np.uint8)
    rows[:, 1:] = (
        np.stack([levels, np.full_like(levels, 65535)], axis=-1).astype(">u2").view(np.uint8).reshape(height, -1)
    )
    header = struct.pack(">IIBBBBB", width, height, 16, 4, 0, 0, 0)
    return make_png((b"IHDR", header), (b"IDAT", zlib.compress(rows.tobytes())), (b"IEND", b""))


def odd_exif(tag: int) -> bytes:
    """Return EXIF data with orientation 6, and a numeric tag stored as text."""
    entries = sorted([(0x0112, 3, 1, struct.pack("<HH", 6, 0)), (tag, 2, 4, b"abc\0")])
    table = b"".join(struct.pack("<HHI", t, kind, count) + value for t, kind, count, value in entries)
    return b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<H", len(entries)) + table + bytes(4)


@pytest.mark.parametrize(
    "convert",
    [
        lambda p: p,
        lambda p: cv2.cvtColor(p, cv2.COLOR_GRAY2BGR),
        lambda p: cv2.cvtColor(p, cv2.COLOR_GRAY2BGRA),
        lambda p: p.astype(np.uint16) * 257,
        lambda p: cv2.cvtColor(p.astype(np.uint16) * 257, cv2.COLOR_GRAY2BGR),
    ],
    ids=["grey", "rgb", "rgba", "16 bit grey", "16 bit rgb"],
)
def test_every_storage_of_an_image_decodes_to_the_same_pixels(image, convert):
    decoded = images.decode(png(convert(image)))
    np.testing.assert_array_equal(decoded.pixels, image)
    assert decoded.warnings == ()


@pytest.mark.parametrize("mode", ["P", "LA", "1"])
def test_palette_alpha_and_bilevel_png(image, mode):
    buffer = io.BytesIO()
    converted = Image.fromarray(image).convert(mode)
    converted.save(buffer, "PNG")
    decoded = images.decode(buffer.getvalue())
    np.testing.assert_array_equal(decoded.pixels, np.asarray(converted.convert("L")))


def test_transparency_is_ignored(image):
    rgba = cv2.cvtColor(image, cv2.COLOR_GRAY2BGRA)
    rgba[:512, :, 3] = 0
    np.testing.assert_array_equal(images.decode(png(rgba)).pixels, image)


@pytest.mark.parametrize("colour", ["grey", "rgb"])
def test_jpeg(image, colour):
    stored = image if colour == "grey" else cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)
    data = cv2.imencode(".jpg", stored, [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes()
    assert np.abs(images.decode(data).pixels.astype(int) - image).max() < 30


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_exif_orientation_is_applied(image, orientation, kind):
    turned = {
        1: lambda p: p,
        2: np.fliplr,
        3: lambda p: np.rot90(p, 2),
        4: np.flipud,
        5: lambda p: p.T,
        6: lambda p: np.rot90(p, 1),
        7: lambda p: np.rot90(p, 2).T,
        8: lambda p: np.rot90(p, -1),
    }[orientation](image[:, :700])
    exif = Image.Exif()
    exif[0x0112] = orientation
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(turned)).save(buffer, kind, exif=exif, quality=100)
    decoded = images.decode(buffer.getvalue()).pixels
    assert decoded.shape == (1024, 700)
    assert np.abs(decoded.astype(int) - image[:, :700]).mean() < 1


def test_16_bit_is_scaled_not_clipped(image):
    ramp = np.linspace(0, 65535, 1024 * 1024).reshape(1024, 1024).astype(np.uint16)
    decoded = images.decode(png(ramp)).pixels
    assert decoded.min() == 0
    assert decoded.max() == 255
    np.testing.assert_array_equal(decoded, np.rint(ramp / 257))


@pytest.mark.parametrize("bits", range(8, 16))
def test_a_16_bit_file_with_unused_bits_gives_a_warning(image, bits):
    (warning,) = images.decode(png(image.astype(np.uint16) << (bits - 8))).warnings
    assert f"only {bits} of its 16 bits" in warning.message
    assert f"bits_stored={bits}" in warning.message
    array = image.astype(np.uint16) << (bits - 8)
    assert images.from_array(array).warnings == (warning,)
    assert images.from_array(array, bits).warnings == ()


def test_levels_at_the_upper_end_of_16_bits_give_no_warning(image):
    shifted = image.astype(np.uint16) << 8
    assert images.decode(png(shifted)).warnings == images.from_array(shifted).warnings == ()


def test_array_of_16_bits_equals_8_bits(image):
    for bits in (8, 10, 12, 15, 16):
        stored = np.rint(image * ((2**bits - 1) / 255)).astype(np.uint16)
        np.testing.assert_array_equal(images.from_array(stored, bits).pixels, image)


@pytest.mark.parametrize(
    ("array", "bits"),
    [
        (np.zeros((100, 100), np.float32), 16),
        (np.zeros((100, 100, 3), np.uint8), 16),
        (np.zeros((100, 100), np.int16), 16),
        (np.full((100, 100), 4096, np.uint16), 12),
        (np.zeros((100, 100), np.uint16), 7),
        (np.zeros((100, 100), np.uint16), 17),
        (np.zeros((100, 100), np.uint16), None),
        (np.zeros((100, 100), np.uint16), "12"),
    ],
)
def test_arrays_that_are_not_images_are_refused(array, bits):
    with pytest.raises(errors.InvalidArray, match="expected"):
        images.from_array(array, bits)


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"hello, I am a text file\n" * 20, errors.NotAnImage),
        (b"\0" * 1000, errors.NotAnImage),
        (b"MZ\x90\0" + b"\0" * 500, errors.NotAnImage),
        (b"GIF89a" + b"\0" * 100, errors.UnsupportedFormat),
        (b"BM" + b"\0" * 100, errors.UnsupportedFormat),
        (b"II*\0" + b"\0" * 100, errors.UnsupportedFormat),
        (b"RIFF\0\0\0\0WEBPVP8 ", errors.UnsupportedFormat),
        (b"\x89PNG\r\n\x1a\n", errors.Truncated),
        (b"\xff\xd8\xff", errors.Truncated),
        (b"", errors.EmptyFile),
    ],
)
def test_other_content_is_refused_by_its_kind(data, error):
    with pytest.raises(error):
        images.decode(data)


@pytest.mark.parametrize("channels", ["rgb", "rgba", "grey and alpha"])
def test_16_bit_colour_keeps_its_depth(image, channels):
    deep = image.astype(np.uint16) << 4  # 12 bits, which a decoder that drops the low byte turns into 16 levels
    if channels == "grey and alpha":
        data = grey_alpha_16(deep)
    else:
        data = png(cv2.cvtColor(deep, cv2.COLOR_GRAY2BGR if channels == "rgb" else cv2.COLOR_GRAY2BGRA))
    decoded = images.decode(data)
    np.testing.assert_array_equal(decoded.pixels, images.decode(png(deep)).pixels)
    assert "only 12 of its 16 bits" in decoded.warnings[0].message


@pytest.mark.parametrize("damage", ["end cut out", "zeros", "noise"])
def test_damaged_jpeg_is_refused_not_guessed(image, damage):
    data = bytearray(cv2.imencode(".jpg", image)[1].tobytes())
    middle = len(data) // 2
    if damage == "end cut out":
        data[middle:-2] = b""
    else:
        data[middle : middle + 500] = bytes(500) if damage == "zeros" else b"\xaa" * 500
    with pytest.raises(errors.Truncated):
        images.decode(bytes(data))


@pytest.mark.parametrize("marker", [b"\xff\xc3", b"\xff\xf7"], ids=["lossless", "JPEG-LS"])
def test_lossless_jpeg_is_unsupported_not_damaged(image, marker):
    data = cv2.imencode(".jpg", image)[1].tobytes().replace(b"\xff\xc0", marker, 1)
    with pytest.raises(errors.UnsupportedFormat, match="convert it to PNG"):
        images.decode(data)


@pytest.mark.parametrize("tag", [0x0100, 0x011A])
def test_odd_exif_tags_do_not_keep_the_image_from_being_turned(image, tag):
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(np.rot90(image[:, :700]))).save(
        buffer, "JPEG", exif=odd_exif(tag), quality=100
    )
    decoded = images.decode(buffer.getvalue())
    assert decoded.pixels.shape == (1024, 700)


def test_exif_data_that_cannot_be_read_gives_a_warning(image):
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG", exif=b"Exif\0\0garbage!")
    decoded = images.decode(buffer.getvalue())
    np.testing.assert_array_equal(decoded.pixels, image)
    assert "EXIF" in decoded.warnings[0].message


@pytest.mark.parametrize("kind", [b"zTXt", b"iCCP", b"iTXt"])
def test_text_that_inflates_to_much_is_ignored(image, kind):
    bomb = b"comment\0" + (b"\1\0\0\0" if kind == b"iTXt" else b"\0") + zlib.compress(bytes(2**28))
    plain = png(image)
    tracemalloc.start()
    decoded = images.decode(plain[:33] + png_chunk(kind, bomb) + plain[33:])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    np.testing.assert_array_equal(decoded.pixels, image)
    assert peak < 2**24


def test_16_bit_levels_that_are_one_grey_are_blank():
    levels = np.random.default_rng(0).integers(30000, 30100, (200, 200)).astype(np.uint16)
    with pytest.raises(errors.Blank):
        images.decode(png(levels))


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
@pytest.mark.parametrize("share", [0.02, 0.3, 0.7, 0.99, 0.9999])
def test_truncated_files_are_refused_not_padded(image, suffix, share):
    data = cv2.imencode(suffix, image)[1].tobytes()
    with pytest.raises(errors.Truncated):
        images.decode(data[: int(len(data) * share)])


def test_damaged_png_is_refused(image):
    data = bytearray(png(image))
    middle = len(data) // 2
    data[middle : middle + 50] = bytes(50)
    with pytest.raises(errors.Truncated):
        images.decode(bytes(data))


@pytest.mark.parametrize(("width", "height"), [(20_001, 100), (100, 20_001), (20_000, 5_001), (2**31 - 1, 2**31 - 1)])
def test_size_is_refused_from_the_header_alone(width, height):
    with pytest.raises(errors.TooLarge):
        images.decode(png_header(width, height))


def test_oversized_jpeg_is_refused_from_the_header_alone(image):
    data = bytearray(cv2.imencode(".jpg", image)[1].tobytes())
    start = data.index(b"\xff\xc0")
    data[start + 5 : start + 9] = struct.pack(">HH", 60_000, 60_000)
    with pytest.raises(errors.TooLarge):
        images.decode(bytes(data))


def test_12_bit_jpeg_is_unsupported_not_damaged(image):
    data = bytearray(cv2.imencode(".jpg", image)[1].tobytes())
    data[data.index(b"\xff\xc0") + 4] = 12
    with pytest.raises(errors.UnsupportedFormat, match="12-bit"):
        images.decode(bytes(data))


def test_100_megapixels_are_still_read():
    ramp = np.tile(np.arange(10_000, dtype=np.uint32) * 255 // 9_999, (10_000, 1)).astype(np.uint8)
    assert images.decode(png(ramp)).pixels.shape == (10_000, 10_000)


@pytest.mark.parametrize("shape", [(63, 200), (200, 63), (1, 1)])
def test_too_small(shape):
    with pytest.raises(errors.TooSmall):
        images.decode(png(np.random.default_rng(0).integers(0, 255, shape).astype(np.uint8)))


@pytest.mark.parametrize("level", [0, 128, 255])
def test_blank(level):
    with pytest.raises(errors.Blank):
        images.decode(png(np.full((200, 200), level, np.uint8)))


@pytest.mark.parametrize("name", ["a\0b.png", "\ud800.png", "image.png/inside.png", ""])
def test_names_that_no_file_can_have(image_path, tmp_path, name):
    shutil.copy(image_path, tmp_path / "image.png")
    with pytest.raises((errors.NotFound, errors.NonUtf8Name)):
        images.read_image(os.path.join(tmp_path, name) if name else name)


def test_files_that_cannot_be_opened(tmp_path):
    with pytest.raises(errors.NotFound):
        images.read_image(tmp_path / "missing.png")
    with pytest.raises(errors.NotAFile):
        images.read_image(tmp_path)
    (tmp_path / "empty.png").touch()
    with pytest.raises(errors.EmptyFile):
        images.read_image(tmp_path / "empty.png")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes, which only POSIX has")
def test_a_pipe_is_refused_without_waiting_for_a_writer(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(errors.NotAFile):
        images.read_image(tmp_path / "pipe.png")


def test_sha256_is_that_of_the_file(image_path):
    import hashlib

    assert images.read_image(image_path).sha256 == hashlib.sha256(Path(image_path).read_bytes()).hexdigest()


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_mutated_files_are_read_or_refused_and_nothing_else(data):
    small = cv2.resize(np.tile(np.arange(256, dtype=np.uint8), (256, 1)), (96, 96))
    suffix = data.draw(st.sampled_from([".png", ".jpg"]))
    content = bytearray(cv2.imencode(suffix, small)[1].tobytes())
    for _ in range(data.draw(st.integers(1, 6))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    try:
        image = images.decode(bytes(content))
    except errors.InputError:
        return
    assert image.pixels.dtype == np.uint8
    assert image.pixels.ndim == 2


@pytest.mark.parametrize("marker", [0, 65535])
def test_levels_that_leave_most_of_the_range_unused_are_warned_of(image, marker):
    """A marker or a hot pixel uses the highest bit, and an offset does; the image is dark or flat all the same."""
    dark = image.astype(np.uint16) << 4
    dark[:4, :4] = marker
    for levels in (dark, dark + np.uint16(32768) if not marker else dark):
        assert "unused_bits" in [warning.code for warning in images.from_array(levels).warnings]
    full = image.astype(np.uint16) * 257
    assert images.from_array(full).warnings == ()
    assert images.from_array(full >> 4, bits_stored=12).warnings == ()
    assert [w.code for w in images.from_array(full >> 8, bits_stored=12).warnings] == ["unused_bits"]


def test_a_data_set_without_the_header_of_a_file_is_named():
    with pytest.raises(errors.NotAnImage, match="DICOM data set without the header of a file"):
        images.decode(b"\x08\x00\x05\x00CS\x0a\x00ISO_IR 100" + bytes(200))
