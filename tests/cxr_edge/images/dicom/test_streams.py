"""Codestreams of every codec: what surrounds the image data is left out, and what lacks some of them is refused."""

import struct
from collections.abc import Callable

import imagecodecs
import numpy as np
import pytest
from pydicom.dataset import Dataset

from benchmarks.dicom.dicom_files import BASELINE, CODECS, image, with_stream, written
from cxr_edge import InputLimits, errors, images
from cxr_edge.images.decoding import DecodedImage
from tests.cxr_edge.images.jpegs import END, PADDING, TRAILERS, encoded

EXTENDED = "1.2.840.10008.1.2.4.51"
JPEG_LS = "1.2.840.10008.1.2.4.80"
JPEG_2000 = "1.2.840.10008.1.2.4.90"
HERE = InputLimits(isolated=False)


@pytest.fixture(scope="module")
def pixels(image_path) -> np.ndarray:
    return np.ascontiguousarray(images.read_image(image_path).pixels[::8, ::8])


@pytest.fixture(scope="module")
def streams(pixels) -> dict[str, bytes]:
    """Return a stream of 12 bits of each codec, of 8 bits for baseline, and of the rarer forms of some."""
    deep = pixels.astype(np.uint16) << 4
    made = {syntax: bytes(encode(deep, 12)) for syntax, encode in CODECS.items() if syntax != RLE}
    made[BASELINE] = encoded(pixels)
    made[f"{BASELINE}, progressive"] = encoded(pixels, progressive=True)
    made[f"{BASELINE}, restarts"] = encoded(pixels, restart_marker_blocks=5)
    made[f"{BASELINE}, colour"] = encoded(np.dstack([pixels] * 3), "RGB")
    made[OPEN] = without_size(made[JPEG_2000])
    made[FILE] = bytes(imagecodecs.jpeg2k_encode(deep, codecformat="jp2", reversible=True))
    return made


RLE = "1.2.840.10008.1.2.5"
#: Kinds whose image data end before the end marker.
CLOSED = [
    *(syntax for syntax in CODECS if syntax != RLE),
    BASELINE,
    *(f"{BASELINE}, {form}" for form in ("progressive", "restarts", "colour")),
]
OPEN, FILE = f"{JPEG_2000}, open end", f"{JPEG_2000}, as a file"
KINDS = [*CLOSED, OPEN, FILE]


def without_size(stream: bytes) -> bytes:
    """Leave the size of the only tile-part open (T.800, A.4.2)."""
    at = stream.index(b"\xff\x90\0\x0a") + 6
    return stream[:at] + bytes(4) + stream[at + 4 :]


@pytest.fixture
def decode(pixels) -> Callable[[str, bytes], DecodedImage]:
    """Return the reader of a stream in a DICOM file, in this process."""

    def read(kind: str, stream: bytes, limits: InputLimits = HERE) -> DecodedImage:
        syntax, _, form = kind.partition(", ")
        deep = pixels if syntax == BASELINE else pixels.astype(np.uint16)
        ds = image(np.dstack([deep] * 3) if form == "colour" else deep, bits=8 if syntax == BASELINE else 12)
        if form == "colour":
            ds.PhotometricInterpretation = "YBR_FULL_422"
        return images.decode(written(with_stream(ds, syntax, stream)), limits)

    return read


def codes_of(decoded: DecodedImage) -> list[str]:
    return [warning.code for warning in decoded.warnings if warning.code != "grey_levels"]


@pytest.mark.parametrize("tail", [*PADDING, *TRAILERS])
@pytest.mark.parametrize("kind", KINDS)
def test_what_follows_the_end_changes_nothing_and_is_warned_of_unless_it_is_padding(decode, streams, kind, tail):
    decoded = decode(kind, streams[kind] + {**PADDING, **TRAILERS}[tail])
    np.testing.assert_array_equal(decoded.pixels, decode(kind, streams[kind]).pixels)
    warned = tail in TRAILERS and kind != FILE  # there, boxes may follow
    assert codes_of(decoded) == (["trailing_bytes"] if warned else [])


@pytest.mark.parametrize("before", [b"\0", b"\0" * 9, b" ", b"\r\n"])
@pytest.mark.parametrize("kind", [*CLOSED, OPEN])
def test_padding_before_the_start_changes_nothing(decode, streams, kind, before):
    decoded = decode(kind, before + streams[kind])
    np.testing.assert_array_equal(decoded.pixels, decode(kind, streams[kind]).pixels)
    assert codes_of(decoded) == []


@pytest.mark.parametrize("surplus", [b"\0", b"\0" * 9, b" ", b"\xff" * 3, b"\x7f", b"\x12\x34" * 300])
@pytest.mark.parametrize("kind", CLOSED)
def test_what_precedes_the_end_marker_changes_nothing(decode, streams, kind, surplus):
    decoded = decode(kind, streams[kind][:-2] + surplus + END)
    np.testing.assert_array_equal(decoded.pixels, decode(kind, streams[kind]).pixels)
    assert codes_of(decoded) in ([], ["surplus_bytes"])
    if len(surplus) == 600 and not kind.endswith((".51", ".57", ".70")):
        assert codes_of(decoded) == ["surplus_bytes"]


@pytest.mark.parametrize("kind", KINDS)
def test_every_cut_is_refused_even_if_an_end_marker_closes_it(decode, streams, kind):
    stream, rng = streams[kind], np.random.default_rng(2)
    body = len(stream) - len(END)
    for length in {*range(body - 30, body), *rng.integers(4, body, 60).tolist()}:
        for end in (b"", b"\0", END, END + b"\0", END + b"\x12\x34"):
            with pytest.raises(errors.InputError):
                decode(kind, stream[:length] + end)


@pytest.mark.parametrize("kind", [*CLOSED, OPEN])
def test_a_missing_end_marker_is_refused(decode, streams, kind):
    for tail in (b"", b"\0", b"\xff", b"\xff\0"):
        with pytest.raises(errors.Truncated, match=r"no end marker|within a tile-part"):
            decode(kind, streams[kind][:-2] + tail)


@pytest.mark.parametrize("kind", KINDS)
def test_a_decoder_process_answers_as_this_process_does(decode, streams, kind):
    surplus = b"\x12\x34" * 300 if kind in CLOSED else b""
    stream = streams[kind][:-2] + surplus + END + b"more"
    isolated, here = decode(kind, stream, InputLimits()), decode(kind, stream)
    np.testing.assert_array_equal(isolated.pixels, here.pixels)
    assert codes_of(isolated) == codes_of(here)


@pytest.mark.parametrize("near", [0, 2])
def test_jpeg_ls_without_its_last_byte_is_refused(decode, pixels, near):
    """CharLS accepts one in five, with another last pixel."""
    for size in range(65, 128, 2):
        part = np.ascontiguousarray(pixels[:size, :size]).astype(np.uint16) << 4
        stream = bytes(imagecodecs.jpegls_encode(part, level=near))
        ds = image(part, bits=12)
        assert images.decode(written(with_stream(ds, JPEG_LS, stream)), HERE).pixels.shape == part.shape
        with pytest.raises(errors.Truncated):
            images.decode(written(with_stream(ds, JPEG_LS, stream[:-3] + END)), HERE)


def test_missing_tiles_are_refused(decode, pixels):
    """No encoder here makes tiles, so a stream of one tile is told to be of four."""
    stream = bytearray(imagecodecs.jpeg2k_encode(pixels.astype(np.uint16), codecformat="j2k", reversible=True))
    sizes = struct.pack(">II", -(-pixels.shape[1] // 2), -(-pixels.shape[0] // 2))
    at = stream.index(b"\xff\x51") + 22
    stream[at : at + 8] = sizes
    with pytest.raises(errors.Truncated, match="1 of its 4 tiles"):
        decode(JPEG_2000, bytes(stream))


def test_missing_tile_parts_are_refused(decode, streams):
    stream = bytearray(streams[JPEG_2000])
    stream[stream.index(b"\xff\x90\0\x0a") + 11] = 3
    with pytest.raises(errors.Truncated, match="parts of one are missing"):
        decode(JPEG_2000, bytes(stream))


def test_a_restart_interval_that_lacks_its_end_is_refused(decode, streams):
    """libjpeg fills it in, and goes on with the next one."""
    stream = bytearray(streams[f"{BASELINE}, restarts"])
    frame = stream.index(b"\xff\xc0")
    stream[frame + 1], stream[frame + 4] = 0xC1, 12  # the same blocks, as differences from another grey
    assert codes_of(decode(EXTENDED, bytes(stream))) == []
    restart = stream.index(b"\xff\xd3", frame)
    with pytest.raises(errors.Truncated):
        decode(EXTENDED, bytes(stream[: restart - 3] + stream[restart:]))


@pytest.mark.parametrize(("marker", "named"), [(0xC5, "hierarchical"), (0xC9, "non-Huffman"), (0xCA, "non-Huffman")])
def test_codings_that_are_not_read_are_named(decode, streams, marker, named):
    stream = bytearray(streams[BASELINE])
    stream[stream.index(b"\xff\xc0") + 1] = marker
    with pytest.raises(errors.UnsupportedFormat, match=named):
        decode(BASELINE, bytes(stream))


@pytest.mark.parametrize("tail", [*PADDING, *(tail for tail in TRAILERS if tail != "another image")])
@pytest.mark.parametrize("form", ["8 bits", "12 bits", "colour", "odd size"])
def test_what_follows_run_lengths_changes_nothing(pixels, form, tail):
    """They have no end marker: as much as a row would contradict the header."""
    native = native_image(pixels, form)
    runs = with_stream(native, RLE, CODECS[RLE](samples_of(native), 0) + {**PADDING, **TRAILERS}[tail])
    decoded = images.decode(written(runs), HERE)
    np.testing.assert_array_equal(decoded.pixels, images.decode(written(native)).pixels)
    assert set(codes_of(decoded)) <= {"surplus_bytes", "header_mismatch"}  # some are read as further samples


@pytest.mark.parametrize("form", ["8 bits", "12 bits", "colour", "odd size"])
def test_cut_run_lengths_are_refused(pixels, form):
    native = native_image(pixels, form)
    stream = CODECS[RLE](samples_of(native), 0).rstrip(b"\0")
    for missing in (2, 3, 4, 5, 10, 100, 3000, len(stream) - 70, len(stream) - 10):
        cut = stream[:-missing]
        with pytest.raises(errors.Truncated):
            images.decode(written(with_stream(native, RLE, cut + b"\x80" * (len(cut) % 2))), HERE)


def native_image(pixels: np.ndarray, form: str) -> Dataset:
    """Return an uncompressed image."""
    if form == "colour":
        return image(np.dstack([pixels] * 3))
    if form == "12 bits":
        return image(pixels.astype(np.uint16) << 4 | 3, bits=12)
    return image(np.ascontiguousarray(pixels[:75, :67]) if form == "odd size" else pixels)


def samples_of(native: Dataset) -> np.ndarray:
    """Return its samples, (H, W) or (H, W, 3)."""
    flat = np.frombuffer(native.PixelData, "u1" if native.BitsAllocated == 8 else "<u2")
    shape = (native.Rows, native.Columns, native.SamplesPerPixel)
    return flat[: np.prod(shape)].reshape(shape).squeeze()
