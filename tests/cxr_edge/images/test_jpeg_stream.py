"""JPEG files that are odd but whole are read; files that lack something are not, whatever closes them."""

import re

import cv2
import numpy as np
import pytest

from benchmarks.dicom.hostile_streams import scan_bomb
from cxr_edge import InputLimits, errors, images
from cxr_edge.images.jpeg_stream import read_stream
from cxr_edge.images.libjpeg import DAMAGED, WHOLE
from tests.cxr_edge.images.jpegs import END, PADDING, TRAILERS, encoded, scan_starts, segment
from tests.cxr_edge.images.pngs import samples_to_png

SMOOTH = cv2.resize(np.random.default_rng(0).integers(0, 256, (9, 7, 4)).astype(np.uint8), (210, 170))
GREY = encoded(SMOOTH[..., 0])
KINDS = {
    "baseline": GREY,
    "optimised": encoded(SMOOTH[..., 0], optimize=True),
    "progressive": encoded(SMOOTH[..., 0], progressive=True),
    "restarts": encoded(SMOOTH[..., 0], restart_marker_blocks=5),
    "colour": encoded(SMOOTH[..., :3], "RGB"),
    "colour, progressive": encoded(SMOOTH[..., :3], "RGB", progressive=True),
    "inks": encoded(SMOOTH, "CMYK"),
}
PNG = samples_to_png(SMOOTH[..., :1].astype(np.uint16), 8, 0)


def codes_of(data: bytes) -> list[str]:
    return [warning.code for warning in images.decode(data).warnings]


@pytest.mark.parametrize("tail", [*PADDING, *TRAILERS])
@pytest.mark.parametrize("kind", [*KINDS, "PNG"])
def test_what_follows_the_end_changes_nothing_and_is_warned_of_unless_it_is_padding(kind, tail):
    data = {**KINDS, "PNG": PNG}[kind]
    decoded = images.decode(data + {**PADDING, **TRAILERS}[tail])
    np.testing.assert_array_equal(decoded.pixels, images.decode(data).pixels)
    assert [warning.code for warning in decoded.warnings] == (["trailing_bytes"] if tail in TRAILERS else [])
    assert all(f"{len(TRAILERS[tail])} bytes after the end marker" in warning.message for warning in decoded.warnings)


@pytest.mark.parametrize("surplus", [b"\0", b"\0" * 4, b"\0" * 5000, b"\xff" * 7, b"\x7f", b"\x12\x34" * 300])
@pytest.mark.parametrize("kind", KINDS)
def test_what_precedes_the_end_marker_changes_nothing(kind, surplus):
    decoded = images.decode(KINDS[kind][:-2] + surplus + END)
    np.testing.assert_array_equal(decoded.pixels, images.decode(KINDS[kind]).pixels)
    assert {warning.code for warning in decoded.warnings} <= ({"surplus_bytes"} if surplus.strip(b"\0\xff") else set())


def test_many_surplus_bytes_are_warned_of_with_their_number():
    (warning,) = images.decode(GREY[:-2] + b"\x12\x34" * 300 + END).warnings
    found = re.match(r"at least (\d+) bytes between the image data and their end marker", warning.message)
    assert 590 <= int(found.group(1)) <= 600  # libjpeg has read some of them ahead


@pytest.mark.parametrize("kind", ["baseline", "restarts", "colour"])
def test_restart_intervals_after_the_last_one_are_left_out(kind):
    """A scanner appends them (image-rs/jpeg-decoder, pull request 100)."""
    surplus = b"".join(bytes([0xFF, 0xD0 + number % 8]) + b"\x5a" * 600 for number in range(10))
    decoded = images.decode(KINDS[kind][:-2] + surplus + END)
    np.testing.assert_array_equal(decoded.pixels, images.decode(KINDS[kind]).pixels)
    assert [warning.code for warning in decoded.warnings] == ["surplus_bytes"]


def restarts_numbered(number_of) -> bytes:
    """Number the restart markers of a file anew."""
    data, start = bytearray(KINDS["restarts"]), scan_starts(KINDS["restarts"])[0]
    for order, restart in enumerate(re.finditer(rb"\xff[\xd0-\xd7]", KINDS["restarts"][start:])):
        data[start + restart.start() + 1] = 0xD0 + number_of(order) % 8
    return bytes(data)


def adobe(transform: int) -> bytes:
    return segment(0xEE, b"Adobe\0\x64\0\0\0\0" + bytes([transform]))


def spectrum(first: int, last: int, approximation: int) -> bytes:
    """Change the parameters of a sequential scan that have no meaning there."""
    at = scan_starts(GREY)[0] + 7
    return GREY[:at] + bytes([first, last, approximation]) + GREY[at + 3 :]


VERSION = GREY.index(b"JFIF\0") + 5
FRAME = GREY.index(b"\xff\xc0")
ODDITIES = {
    "JFIF 2.01": GREY[:VERSION] + b"\2" + GREY[VERSION + 1 :],
    "JFIF 0.00": GREY[:VERSION] + b"\0\0" + GREY[VERSION + 2 :],
    "JFIF 255.255": GREY[:VERSION] + b"\xff\xff" + GREY[VERSION + 2 :],
    "density of 0": GREY[: VERSION + 2] + b"\7\0\0\0\0" + GREY[VERSION + 7 :],
    "thumbnail that is not there": GREY[: VERSION + 7] + b"\x50\x50" + GREY[VERSION + 9 :],
    "two JFIF segments": GREY[:2] + GREY[2:20] + GREY[2:],
    "spectrum ends at 0": spectrum(0, 0, 0),
    "spectrum from 1": spectrum(1, 63, 0),
    "approximated": spectrum(0, 63, 0x21),
    "many segments": GREY[:2] + b"".join(segment(0xE0 + n, b"\xff\xd9\xff\xda" * 99) for n in range(16)) + GREY[2:],
    "comment": GREY[:2] + segment(0xFE, b"\xff\xd8 \xff\xd9") + GREY[2:],
    "Adobe marker of grey": GREY[:2] + adobe(9) + GREY[2:],
    "fill bytes": GREY[:20] + b"\xff" * 99 + GREY[20:],
    "padding between segments": GREY[:20] + b"\0" * 9 + GREY[20:],
    "restarts of header only": GREY[:20] + b"\xff\x01\xff\xd3" + GREY[20:],
    "restart markers from 1": restarts_numbered(lambda order: order + 1),
    "restart markers of one number": restarts_numbered(lambda _: 0),
    "lines after the scan": GREY[: FRAME + 5] + b"\0\0" + GREY[FRAME + 7 : -2] + segment(0xDC, b"\0\xaa") + END,
}


@pytest.mark.parametrize("name", ODDITIES)
def test_odd_parameters_change_no_pixel(name):
    decoded = images.decode(ODDITIES[name])
    expected = images.decode(KINDS["restarts"] if "restart markers" in name else GREY)
    np.testing.assert_array_equal(decoded.pixels, expected.pixels)
    assert decoded.warnings == ()


@pytest.mark.parametrize("name", ODDITIES)
def test_an_odd_parameter_hides_no_damage(name):
    """libjpeg keeps its first warning only."""
    whole = ODDITIES[name]
    cut = len(whole) - 2 - (6 if name.startswith("lines") else 0)
    for missing in (1, 20, 300):
        with pytest.raises(errors.Truncated):
            images.decode(whole[: cut - missing] + whole[cut:])


@pytest.mark.parametrize("transform", [3, 77])
@pytest.mark.parametrize("kind", ["colour", "inks"])
def test_an_unknown_adobe_code_is_read_as_libjpeg_reads_it(kind, transform):
    data = KINDS[kind]
    plain = re.sub(rb"\xff\xee\0\x0eAdobe.{7}", b"", data, flags=re.DOTALL)
    decoded = images.decode(plain[:2] + adobe(transform) + plain[2:]).pixels
    known = images.decode(plain[:2] + adobe({"colour": 1, "inks": 2}[kind]) + plain[2:]).pixels
    np.testing.assert_array_equal(decoded, known)


@pytest.mark.parametrize("kind", KINDS)
def test_every_cut_is_refused_even_if_an_end_marker_closes_it(kind):
    data = KINDS[kind]
    rng = np.random.default_rng(1)
    body = len(data) - len(END)
    for length in {*range(body - 60, body), *rng.integers(2, body, 150).tolist(), *scan_starts(data)}:
        for end in (b"", END, END + b"\0", END + TRAILERS["another image"]):
            with pytest.raises(errors.InputError):
                images.decode(data[:length] + end)


@pytest.mark.parametrize("kind", KINDS)
def test_a_missing_end_marker_is_refused(kind):
    for tail in (b"", b"\xff", b"\0\0", b"\xff\xff\xff", b"\xff\0"):
        with pytest.raises(errors.Truncated, match="no end marker"):
            images.decode(KINDS[kind][:-2] + tail)


def test_missing_or_exchanged_restart_intervals_are_refused():
    data = KINDS["restarts"]
    start = scan_starts(data)[0]
    found = [start + restart.start() for restart in re.finditer(rb"\xff[\xd0-\xd7]", data[start:])]
    first, second, third = found[3:6]
    for changed in (
        data[:first] + data[second:],
        data[:first] + data[second:third] + data[first:second] + data[third:],
    ):
        with pytest.raises(errors.Truncated, match="restart intervals"):
            images.decode(changed)


@pytest.mark.parametrize("kind", ["progressive", "colour, progressive"])
def test_a_missing_scan_is_refused(kind):
    data = KINDS[kind]
    for start in scan_starts(data)[1:]:
        with pytest.raises(errors.Truncated, match="before its last scan"):
            images.decode(data[:start] + END)


def test_scans_are_limited():
    with pytest.raises(errors.TooLarge, match=r"at most 32 scans .* raise max_scans"):
        images.decode(scan_bomb(1100, 32))
    with pytest.raises(errors.TooLarge, match="at most 3 scans"):
        images.decode(KINDS["progressive"], InputLimits(max_scans=3))
    with pytest.raises(errors.Blank):  # it is decoded
        images.decode(scan_bomb(1100, 99), InputLimits(max_scans=100))


@pytest.mark.parametrize("flood", [b"\xff\xfe\0\2", b"\xff\x01", b"\xff\xd0", segment(0xDD, b"\0\0")])
def test_segments_are_limited(flood):
    with pytest.raises(errors.TooLarge, match="segments in a JPEG"):
        images.decode(GREY[:2] + flood * 20_001 + GREY[2:])


@pytest.mark.parametrize("kind", KINDS)
def test_a_whole_stream_is_decoded_as_it_is(kind):
    stream = read_stream(KINDS[kind])
    assert stream.data is KINDS[kind]
    assert (stream.surplus, stream.trailing) == (0, 0)
    assert [stream.data[end : end + 1] for _, end in stream.image_data] == [b"\xff"] * len(scan_starts(stream.data))


def test_no_warning_is_both_harmless_and_not():
    assert not WHOLE.keys() & DAMAGED.keys()
    assert all(reason.endswith(".") for reason in [*WHOLE.values(), *DAMAGED.values()])
