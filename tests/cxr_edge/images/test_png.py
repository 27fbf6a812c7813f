"""PNG: every kind compared with Pillow, and damaged files refused."""

import io
import zlib

import numpy as np
import pytest
from PIL import Image

from benchmarks.dicom.hostile_streams import empty_blocks
from cxr_edge import errors, images
from cxr_edge.images import png
from tests.cxr_edge.images.pngs import CHANNELS, KINDS, ihdr, make_png, png_chunk, rows_of, samples_to_png

#: Weights of BT.601, by which Pillow and OpenCV reduce colour.
LUMA = np.array([0.299, 0.587, 0.114])


def samples_of(colour: int, depth: int) -> np.ndarray:
    """Return noise, in a size that fills no pass of Adam7."""
    return np.random.default_rng(0).integers(0, 2**depth, (75, 67, CHANNELS[colour])).astype(np.uint16)


def palette_of(depth: int) -> bytes:
    return np.random.default_rng(1).bytes(3 * 2**depth)


def expected_levels(samples: np.ndarray, colour: int, depth: int) -> np.ndarray:
    """Return the levels by the specification in 8 or 16 bits per sample, in full precision."""
    if colour == 3:
        table = np.frombuffer(palette_of(depth), np.uint8).reshape(-1, 3)
        return table[samples[..., 0]] @ LUMA
    if colour in {0, 4}:
        return samples[..., 0] * (255 / (2**depth - 1) if depth < 8 else 1.0)
    return samples[..., :3] @ LUMA


def a_png(*middle: tuple[bytes, bytes], header: tuple[bytes, bytes] | None = None) -> bytes:
    return make_png(header or ihdr(67, 75, 8, 0), *middle, (b"IEND", b""))


SAMPLES = samples_of(0, 8)
ROWS = rows_of(SAMPLES, 8)
IDAT = (b"IDAT", zlib.compress(ROWS))


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize(("colour", "depth"), KINDS)
def test_every_kind_decodes_to_its_samples(colour, depth, interlaced):
    samples = samples_of(colour, depth)
    data = samples_to_png(samples, depth, colour, palette_of(depth), interlaced=interlaced)
    levels, exif, warnings = png.decode(data, png.read_header(data))
    assert (exif, warnings) == (None, ())
    assert levels.dtype == (np.uint16 if depth == 16 else np.uint8)
    tolerance = 0 if colour in {0, 4} else max(1, depth // 8)  # 16-bit luma within two of 65535
    np.testing.assert_allclose(levels, expected_levels(samples, colour, depth), atol=tolerance, rtol=0)


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize(("colour", "depth"), [kind for kind in KINDS if kind[1] <= 8 or kind[0] == 0])
def test_every_kind_decodes_as_pillow_does(colour, depth, interlaced):
    data = samples_to_png(samples_of(colour, depth), depth, colour, palette_of(depth), interlaced=interlaced)
    opened = Image.open(io.BytesIO(data))
    expected = np.rint(np.asarray(opened) / 257) if depth == 16 else np.asarray(opened.convert("L"))
    tolerance = 0 if colour in {0, 4} else 1
    np.testing.assert_allclose(images.decode(data).pixels, expected.astype(int), atol=tolerance, rtol=0)


@pytest.mark.parametrize(("colour", "depth"), KINDS)
def test_a_kind_without_enough_rows_is_refused(colour, depth):
    for interlaced in (False, True):
        rows = rows_of(samples_of(colour, depth), depth, interlaced=interlaced)
        header = ihdr(67, 75, depth, colour, interlaced=interlaced)
        palette = [(b"PLTE", palette_of(depth))] if colour == 3 else []
        for cut in (1, len(rows) // 2, len(rows)):
            with pytest.raises(errors.Truncated):
                images.decode(a_png(*palette, (b"IDAT", zlib.compress(rows[:-cut])), header=header))


@pytest.mark.parametrize(("colour", "depth"), KINDS)
def test_a_row_with_an_unknown_filter_is_refused(colour, depth):
    for interlaced in (False, True):
        rows = b"\5" + rows_of(samples_of(colour, depth), depth, interlaced=interlaced)[1:]
        header = ihdr(67, 75, depth, colour, interlaced=interlaced)
        palette = [(b"PLTE", palette_of(depth))] if colour == 3 else []
        with pytest.raises(errors.Truncated):
            images.decode(a_png(*palette, (b"IDAT", zlib.compress(rows)), header=header))


@pytest.mark.parametrize(("colour", "depth"), [(0, 1), (0, 8), (3, 8)])
def test_a_png_cut_at_any_length_is_refused(colour, depth):
    data = samples_to_png(samples_of(colour, depth), depth, colour, palette_of(depth))
    for length in range(1, len(data)):
        with pytest.raises((errors.Truncated, errors.NotAnImage)):
            images.decode(data[:length])


@pytest.mark.parametrize(("colour", "depth"), [(0, 1), (0, 8), (3, 4), (4, 16)])
def test_a_png_with_a_changed_byte_is_refused(colour, depth):
    data = samples_to_png(samples_of(colour, depth), depth, colour, palette_of(depth))
    rng = np.random.default_rng(2)
    for at in rng.permutation(np.arange(8, len(data)))[:1500]:
        changed = bytearray(data)
        changed[at] ^= int(rng.integers(1, 256))
        with pytest.raises(errors.InputError):
            images.decode(bytes(changed))


@pytest.mark.parametrize(("colour", "depth"), KINDS)
def test_changes_under_valid_checksums_are_read_or_refused(colour, depth, capfd):
    """A hostile writer's checksums are valid: its file must neither crash the decoder nor make it print."""
    rng = np.random.default_rng(3)
    samples = samples_of(colour, depth)
    for round_ in range(300):
        interlaced = bool(round_ % 2)
        rows = zlib.compress(rows_of(samples[:70:7, ::7].repeat(7, 0).repeat(7, 1), depth, interlaced=interlaced))
        contents = [
            bytearray(content)
            for content in (ihdr(70, 70, depth, colour, interlaced=interlaced)[1], palette_of(depth), rows)
        ]
        for _ in range(rng.integers(1, 4)):
            content = contents[rng.choice(3, p=[0.1, 0.1, 0.8])]
            content[rng.integers(0, len(content))] = rng.integers(0, 256)
        ihdr_, plte, idat = map(bytes, contents)
        data = make_png((b"IHDR", ihdr_), *([(b"PLTE", plte)] if colour == 3 else []), (b"IDAT", idat), (b"IEND", b""))
        try:
            assert images.decode(data).pixels.dtype == np.uint8
        except errors.InputError:
            continue
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    "data",
    [
        make_png(ihdr(67, 75, 8, 0), IDAT),
        make_png(ihdr(67, 75, 8, 0), (b"IEND", b"")),
        make_png(IDAT, ihdr(67, 75, 8, 0), (b"IEND", b"")),
        a_png((b"IDAT", IDAT[1][:50]), (b"tEXt", b"a\0b"), (b"IDAT", IDAT[1][50:])),
        a_png((b"IDAT", IDAT[1][:-30])),
        a_png((b"IDAT", b"")),
        a_png(ihdr(67, 75, 8, 0), IDAT),
        a_png((b"PLTE", bytes(768)), (b"PLTE", bytes(768)), IDAT, header=ihdr(67, 75, 8, 3)),
        a_png((b"T:ME", b""), IDAT),
        a_png((b"IDAT", ROWS)),
        a_png(IDAT).replace(png_chunk(*IDAT), b"\xff\xff\xff\xff" + png_chunk(*IDAT)[4:]),
        a_png(IDAT, header=ihdr(67, 75, 3, 0)),
        a_png(IDAT, header=ihdr(67, 75, 8, 1)),
        a_png(IDAT, header=ihdr(67, 75, 4, 2)),
        a_png(IDAT, header=(b"IHDR", ihdr(67, 75, 8, 0)[1][:-1] + b"\2")),
        a_png(IDAT, header=(b"IHDR", ihdr(67, 75, 8, 0)[1] + b"\0")),
        a_png(IDAT, header=ihdr(75, 75, 8, 0)),
        a_png(IDAT, header=ihdr(67, 75, 16, 0)),
        a_png(IDAT, header=ihdr(67, 75, 8, 3)),
        a_png((b"PLTE", bytes(200)), IDAT, header=ihdr(67, 75, 8, 3)),
        a_png((b"PLTE", bytes(3 * 100)), IDAT, header=ihdr(67, 75, 8, 3)),
    ],
    ids=[
        "no end", "no image data", "header late", "interrupted", "deflate cut", "empty image data",
        "two headers", "two palettes", "not a chunk type", "not compressed",
        "chunk longer than the file", "3 bits", "colour type 1", "RGB of 4 bits", "interlacing 2", "long header",
        "wider than the image data", "deeper than the image data", "no palette", "palette of thirds",
        "palette too short",
    ],
)  # fmt: skip
def test_invalid_files_are_refused(data):
    with pytest.raises(errors.Truncated, match="copy it again"):
        images.decode(data)


def test_an_unknown_critical_chunk_is_named():
    with pytest.raises(errors.UnsupportedFormat, match="CgBI"):
        images.decode(a_png((b"CgBI", b"\x50\0\x20\2"), IDAT))


def test_endless_chunks_are_refused():
    with pytest.raises(errors.TooLarge, match="chunks"):
        images.decode(make_png(ihdr(67, 75, 8, 0)) + png_chunk(b"tIME", b"") * 100_001)


@pytest.mark.parametrize(
    "data",
    [
        a_png((b"IDAT", IDAT[1][:50]), (b"IDAT", b""), (b"IDAT", IDAT[1][50:])),
        a_png((b"tRNS", b"\0\7"), (b"gAMA", b"\0\0\0\1"), (b"sBIT", b"\1"), (b"PLTE", bytes(9)), IDAT, (b"teXt", b"?")),
        a_png((b"acTL", b"\0\0\0\2\0\0\0\0"), IDAT, (b"fdAT", b"\0\0\0\1junk")),
        a_png((b"iCCP", b"not a profile"), IDAT),
        a_png((b"IDAT", zlib.compress(ROWS + bytes(2**24)))),
        a_png(IDAT) + b"what follows the end",
    ],
    ids=["several chunks", "metadata", "animation", "bad profile", "surplus image data", "trailing bytes"],
)
def test_other_contents_do_not_change_the_image(data, capfd):
    np.testing.assert_array_equal(images.decode(data).pixels, SAMPLES[..., 0])
    assert capfd.readouterr() == ("", "")


def test_image_data_without_content_are_not_inflated_to_their_end():
    blocks = b"\x78\x01" + empty_blocks(2**22)
    with pytest.raises(errors.Truncated, match="longer than what they contain"):
        images.decode(a_png((b"IDAT", blocks)))
    assert zlib.decompressobj().decompress(blocks) == b""


def test_image_data_that_cannot_be_compressed_are_read():
    noise = np.random.default_rng(5).integers(0, 256, (1900, 2000, 1)).astype(np.uint16)
    for level in (0, 9):
        rows = zlib.compress(rows_of(noise, 8), level)
        data = make_png(ihdr(2000, 1900, 8, 0), (b"IDAT", rows), (b"IEND", b""))
        np.testing.assert_array_equal(images.decode(data).pixels, noise[..., 0])


@pytest.mark.parametrize("tail", [b"more", b"\0" * 70_000])
@pytest.mark.parametrize(("colour", "depth"), KINDS)
def test_more_rows_than_the_header_states_change_nothing(colour, depth, tail, capfd):
    samples, palette = samples_of(colour, depth), palette_of(depth)
    for interlaced in (False, True):
        rows = rows_of(samples, depth, interlaced=interlaced)
        data = samples_to_png(samples, depth, colour, palette, interlaced=interlaced)
        longer = data.replace(png_chunk(b"IDAT", zlib.compress(rows)), png_chunk(b"IDAT", zlib.compress(rows + tail)))
        assert longer != data
        np.testing.assert_array_equal(images.decode(longer).pixels, images.decode(data).pixels)
    assert capfd.readouterr() == ("", "")


def test_native_libraries_print_nothing(capfd):
    for colour, depth in KINDS:
        data = bytearray(samples_to_png(samples_of(colour, depth), depth, colour, palette_of(depth)))
        data[-20] ^= 1
        with pytest.raises(errors.Truncated):
            images.decode(bytes(data))
        rows = b"\5" + rows_of(samples_of(colour, depth), depth)[1:]
        with pytest.raises(errors.Truncated):
            images.decode(a_png((b"IDAT", zlib.compress(rows)), header=ihdr(67, 75, depth, colour)))
    assert capfd.readouterr() == ("", "")


def test_rows_beyond_the_header_are_warned_of():
    """The header states fewer rows than the image data hold: half an image must not pass for a whole one."""
    short = ihdr(67, 70, 8, 0)
    levels = images.decode(a_png(IDAT, header=short))
    np.testing.assert_array_equal(levels.pixels, SAMPLES[:70, :, 0])
    assert [warning.code for warning in levels.warnings] == ["surplus_bytes"]
    assert images.decode(a_png(IDAT)).warnings == ()
