"""JPEG: every coding that is read, and a refusal of the others."""

import io
import struct

import cv2
import numpy as np
import pytest
from PIL import Image

from cxr_edge import errors, images
from cxr_edge.images import jpeg


def encoded(pixels: np.ndarray, mode: str = "L", **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels, mode).save(buffer, "JPEG", quality=90, **options)
    return buffer.getvalue()


SMOOTH = cv2.resize(np.random.default_rng(0).integers(0, 256, (9, 7, 4)).astype(np.uint8), (90, 70))
GREY = encoded(SMOOTH[..., 0].copy())
FRAME = GREY.index(b"\xff\xc0")
TABLES = GREY.index(b"\xff\xdb")


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
@pytest.mark.parametrize("progressive", [False, True])
def test_every_colour_decodes_as_pillow_does(mode, progressive):
    pixels = SMOOTH[..., 0] if mode == "L" else SMOOTH[..., : len(mode)]
    data = encoded(np.ascontiguousarray(pixels), mode, progressive=progressive)
    expected = np.asarray(Image.open(io.BytesIO(data)).convert("RGB").convert("L")).astype(int)
    difference = np.abs(images.decode(data).pixels - expected)
    assert difference.max() <= (2 if mode == "RGB" else 1)


def test_fill_bytes_and_standalone_markers_are_skipped():
    assert jpeg.read_header(GREY[:TABLES] + b"\xff\xff\xff" + GREY[TABLES:])[:3] == (90, 70, 1)
    assert jpeg.read_header(GREY[:TABLES] + b"\xff\x01" + GREY[TABLES:])[:3] == (90, 70, 1)


@pytest.mark.parametrize(
    "data",
    [
        GREY[:FRAME] + GREY[FRAME + 4 :],
        GREY[:2] + b"\xff\xd9",
        GREY[:TABLES] + b"junk" + GREY[TABLES:],
        GREY[: FRAME + 2] + b"\0\1" + GREY[FRAME + 4 :],
        GREY[: FRAME + 2] + b"\0\4" + GREY[FRAME + 4 :],
        GREY[: FRAME + 2] + b"\xff\xff" + GREY[FRAME + 4 :],
    ],
    ids=["no frame marker", "ends at once", "junk", "length 1", "short frame", "long frame"],
)
def test_invalid_headers_are_refused(data):
    with pytest.raises(errors.Truncated, match="copy it again"):
        images.decode(data)


@pytest.mark.parametrize(
    ("marker", "named"),
    [
        (0xC3, "lossless"),
        (0xC5, "hierarchical"),
        (0xC9, "non-Huffman"),
        (0xCA, "non-Huffman"),
        (0xCB, "lossless"),
        (0xCF, "hierarchical"),
        (0xF7, "JPEG-LS"),
    ],
)
def test_codings_that_are_not_read_are_named(marker, named):
    with pytest.raises(errors.UnsupportedFormat, match=f"got a {named} one"):
        images.decode(GREY[: FRAME + 1] + bytes([marker]) + GREY[FRAME + 2 :])


def test_two_channels_are_named():
    with pytest.raises(errors.UnsupportedFormat, match="2-channel"):
        images.decode(GREY[: FRAME + 9] + b"\2" + GREY[FRAME + 10 :])


def test_a_second_frame_of_another_size_is_refused():
    second = bytearray(GREY[FRAME : FRAME + 13])
    second[5:9] = struct.pack(">HH", 5000, 5000)
    for at in (FRAME, FRAME + 13):
        with pytest.raises(errors.InputError):
            images.decode(GREY[:at] + bytes(second) + GREY[at:])


def test_a_jpeg_cut_at_any_length_is_refused():
    for length in range(1, len(GREY)):
        with pytest.raises(errors.InputError):
            images.decode(GREY[:length])


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
@pytest.mark.parametrize("progressive", [False, True])
def test_changed_bytes_are_read_or_refused(mode, progressive, capfd):
    rng = np.random.default_rng(1)
    pixels = SMOOTH[..., 0] if mode == "L" else SMOOTH[..., : len(mode)]
    valid = encoded(np.ascontiguousarray(pixels), mode, progressive=progressive)
    for _ in range(500):
        data = bytearray(valid[: rng.integers(len(valid) // 2, 2 * len(valid))])
        for at in rng.integers(2, len(data), rng.integers(1, 5)):
            data[at] = rng.integers(0, 256)
        try:
            assert images.decode(bytes(data)).pixels.dtype == np.uint8
        except errors.InputError:
            continue
    assert capfd.readouterr() == ("", "")
