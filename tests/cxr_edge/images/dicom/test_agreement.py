"""What a file says twice: bits, sign, samples, length, byte order and frames, in header, codestream and values."""

import shutil
import subprocess

import imagecodecs
import numpy as np
import pydicom
import pytest
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian

from benchmarks.dicom import dicom_files
from benchmarks.dicom.dicom_files import image, rle, with_stream, written
from cxr_edge import InputLimits, errors, images

HERE = InputLimits(isolated=False)
RLE = "1.2.840.10008.1.2.5"
BITS = 12


def lossless(cells: np.ndarray) -> dict[str, bytes]:
    """Encode whole cells of 16 bits in every lossless syntax: transfer syntax → codestream."""
    return {
        RLE: rle(cells),
        "1.2.840.10008.1.2.4.57": imagecodecs.jpeg8_encode(cells, lossless=True, bitspersample=16, predictor=4),
        "1.2.840.10008.1.2.4.70": imagecodecs.ljpeg_encode(cells, bitspersample=16),
        "1.2.840.10008.1.2.4.80": imagecodecs.jpegls_encode(cells),
        "1.2.840.10008.1.2.4.90": imagecodecs.jpeg2k_encode(cells, codecformat="j2k", level=0, reversible=True),
        "1.2.840.10008.1.2.4.201": imagecodecs.htj2k_encode(cells),
    }


SYNTAXES = (None, *lossless(np.arange(64 * 64, dtype=np.uint16).reshape(64, 64)))


def encoded(cells: np.ndarray, syntax: str | None, **attributes: object) -> bytes:
    """Return a file of cells in a lossless syntax; None is native."""
    ds = image(cells, bits=BITS)
    for keyword, value in attributes.items():
        setattr(ds, keyword, value)
    return written(ds if syntax is None else with_stream(ds, syntax, lossless(cells)[syntax]))


def jpeg_2000(samples: np.ndarray, bits: int) -> bytes:
    return imagecodecs.jpeg2k_encode(samples, codecformat="j2k", level=0, reversible=True, bitspersample=bits)


def codes(decoded: images.DecodedImage) -> list[str]:
    return [warning.code for warning in decoded.warnings]


@pytest.fixture(scope="module")
def grey(image_path) -> np.ndarray:
    """Return a real image, 256x256, over the whole range of 8 bits."""
    pixels = images.read_image(image_path).pixels[::4, ::4].astype(float)
    return np.rint((pixels - pixels.min()) * 255 / np.ptp(pixels)).astype(np.uint8)


@pytest.fixture(scope="module")
def levels(grey) -> np.ndarray:
    """Return it at 12 bits; shown over the whole range, it is `grey` again."""
    return np.rint(grey * (4095 / 255)).astype(np.uint16)


@pytest.mark.parametrize("high_bit", range(BITS - 1, 16))
@pytest.mark.parametrize("syntax", SYNTAXES)
def test_samples_end_at_the_high_bit_in_every_syntax(levels, grey, syntax, high_bit):
    cells = levels << (high_bit + 1 - BITS)
    decoded = images.decode(encoded(cells, syntax, HighBit=high_bit), HERE)
    np.testing.assert_array_equal(decoded.pixels, grey)
    assert codes(decoded) == ["grey_levels"]


#: Programs of DCMTK → whether they keep every level.
PROGRAMS = {
    "dcmcrle": True,
    "dcmcjpls": True,
    "dcmcjpls +en": False,
    "dcmcjpeg +e1": True,
    "dcmcjpeg +e1 +pl": False,
    "dcmcjpeg +ee": False,
    "dcmcjpeg +eb": False,
}


@pytest.mark.parametrize(("bits", "high_bit"), [(10, 9), (10, 15), (12, 15)])
@pytest.mark.parametrize(
    ("program", "signed"),
    [(program, signed) for program in PROGRAMS for signed in (False, True) if (program, signed) != ("dcmcjpls +en", 1)],
)
def test_samples_that_another_toolkit_encodes_are_its_own(grey, tmp_path, program, signed, bits, high_bit):
    name, *options = program.split()
    if not shutil.which(name):
        pytest.skip("needs DCMTK (Debian package dcmtk)")
    values = np.rint(grey * ((2**bits - 1) / 255)).astype(np.int32) - signed * 2 ** (bits - 1)
    cells = ((values << (high_bit + 1 - bits)) & 0xFFFF).astype(np.uint16)
    native = image(cells, bits=bits, HighBit=high_bit, PixelRepresentation=int(signed), WindowWidth=2**bits)
    native.WindowCenter = 0 if signed else 2 ** (bits - 1)
    (tmp_path / "native.dcm").write_bytes(written(native))
    command = [name, *options, tmp_path / "native.dcm", tmp_path / "compressed.dcm"]
    subprocess.run(command, capture_output=True, check=True)
    decoded = images.decode((tmp_path / "compressed.dcm").read_bytes(), HERE)
    apart = np.abs(decoded.pixels.astype(int) - grey)
    assert apart.max() <= 1 if PROGRAMS[program] else apart.mean() < 2
    assert codes(decoded) == ["grey_levels"]


@pytest.mark.parametrize("high_bit", [BITS - 1, 15])
@pytest.mark.parametrize("extended", [True, False], ids=["sign extended", "sign not extended"])
@pytest.mark.parametrize("syntax", SYNTAXES)
def test_signed_samples_too(levels, grey, syntax, extended, high_bit):
    signed = levels.astype(np.int16) - 2048
    cells = (signed if extended else signed & 0xFFF).astype(np.uint16) << (high_bit + 1 - BITS)
    data = encoded(cells, syntax, HighBit=high_bit, PixelRepresentation=1)
    assert np.abs(images.decode(data, HERE).pixels.astype(int) - grey).max() <= 1


@pytest.mark.parametrize("stray", [0x1000, 0x8000, 0xF000])
@pytest.mark.parametrize("syntax", SYNTAXES)
def test_an_overlay_above_the_high_bit_is_left_out_with_a_warning(levels, grey, syntax, stray):
    cells = levels.copy()
    cells[100:120, 40:90] |= stray
    decoded = images.decode(encoded(cells, syntax), HERE)
    np.testing.assert_array_equal(decoded.pixels, grey)
    assert codes(decoded) == ["grey_levels", "header_mismatch"]
    assert "12 bits stored up to High Bit 11" in decoded.warnings[1].message


@pytest.mark.parametrize("needed", [13, 14, 16])
@pytest.mark.parametrize("syntax", SYNTAXES)
def test_samples_deeper_than_the_header_are_refused_with_both_numbers(levels, syntax, needed):
    cells = (levels << (needed - BITS)) | 1
    with pytest.raises(errors.HeaderMismatch, match=f"states 12 bits stored .* need the lowest {needed} bits"):
        images.decode(encoded(cells, syntax), HERE)


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_samples_that_are_not_up_to_the_high_bit_are_refused(levels, syntax):
    with pytest.raises(errors.HeaderMismatch, match="up to High Bit 15, but the samples need the lowest 12 bits"):
        images.decode(encoded(levels, syntax, HighBit=15), HERE)


@pytest.mark.parametrize(
    ("bits", "stored", "high_bit", "message"),
    [
        (12, 16, 15, "states 16 bits stored up to High Bit 15, the codestream 12 bits"),
        (12, 12, 15, "states 12 bits stored up to High Bit 15, the codestream 12 bits"),
        (12, 14, 13, "states 14 bits stored up to High Bit 13, the codestream 12 bits"),
    ],
)
def test_the_bits_of_a_codestream_hold_where_the_header_states_more(levels, grey, bits, stored, high_bit, message):
    stream = imagecodecs.ljpeg_encode(levels, bitspersample=bits)
    ds = image(levels, bits=stored, HighBit=high_bit)
    decoded = images.decode(written(with_stream(ds, "1.2.840.10008.1.2.4.70", stream)), HERE)
    np.testing.assert_array_equal(decoded.pixels, grey)
    assert message in decoded.warnings[1].message


def test_a_codestream_without_the_high_bit_is_refused(levels):
    ds = image(levels, bits=BITS, HighBit=15)
    stream = imagecodecs.ljpeg_encode(levels << 2, bitspersample=14)
    with pytest.raises(errors.HeaderMismatch, match="up to High Bit 15, the codestream has samples of 14 bits"):
        images.decode(written(with_stream(ds, "1.2.840.10008.1.2.4.70", stream)), HERE)


def test_two_complement_without_a_sign_is_read_by_the_header(levels, grey):
    patterns = (levels.astype(np.int16) - 2048).astype(np.uint16) & 0xFFF
    ds = image(levels, bits=BITS, PixelRepresentation=1)
    decoded = images.decode(written(with_stream(ds, dicom_files.JPEG_2000, jpeg_2000(patterns, BITS))), HERE)
    np.testing.assert_array_equal(decoded.pixels, grey)
    assert "states signed samples of 12 bits, the codestream unsigned ones" in decoded.warnings[1].message


@pytest.mark.parametrize("signed", [True, False])
def test_another_sign_of_the_codestream_is_refused(levels, signed):
    samples = levels.astype(np.int16) - 2048 if signed else levels
    ds = image(levels, bits=BITS, PixelRepresentation=int(not signed))
    with pytest.raises(errors.HeaderMismatch, match=f"its levels are {'signed' if signed else 'unsigned'}"):
        images.decode(written(with_stream(ds, dicom_files.JPEG_2000, jpeg_2000(samples, BITS))), HERE)


@pytest.mark.parametrize("stored", [10, 11])
def test_what_lossy_coding_adds_to_the_highest_level_does_not_wrap_around(grey, stored):
    highest = 2**stored - 1
    bright = np.minimum(np.rint(grey * (1.3 * highest / 255)), highest).astype(np.uint16)
    stream = imagecodecs.jpeg8_encode(bright, level=90, bitspersample=12)
    assert imagecodecs.jpeg8_decode(stream).max() > highest
    decoded = images.decode(written(with_stream(image(bright, bits=stored), "1.2.840.10008.1.2.4.51", stream)), HERE)
    assert np.abs(decoded.pixels - bright * (255 / highest)).max() < 25
    assert f"states {stored} bits stored, the codestream of 12 bits exceeds" in decoded.warnings[1].message


@pytest.mark.parametrize("more", [1, 2, 100])
def test_padding_is_left_out_with_a_warning(levels, grey, more):
    ds = image(levels, bits=BITS)
    ds.PixelData += b"\1" * (2 * more)
    decoded = images.decode(written(ds))
    np.testing.assert_array_equal(decoded.pixels, grey)
    assert f"the pixels are {2 * more} bytes longer than the 131072" in decoded.warnings[1].message


def test_the_byte_that_makes_a_length_even_is_no_padding(grey):
    odd = grey[:255, :255]
    ds = image(odd)
    ds.PixelData = odd.tobytes() + b"\0"
    assert codes(images.decode(written(ds))) == ["grey_levels"]


@pytest.mark.parametrize(
    "attributes", [{"Rows": 128}, {"Rows": 255}, {"Columns": 128}, {"Columns": 255}, {"BitsAllocated": 8}]
)
def test_more_pixels_than_the_header_states_are_refused(levels, attributes):
    ds = image(levels, bits=BITS, **attributes)
    if "BitsAllocated" in attributes:
        ds.BitsStored, ds.HighBit = 8, 7
    with pytest.raises(errors.HeaderMismatch, match="bytes, but the pixels have 131072"):
        images.decode(written(ds))


def test_more_runs_than_the_header_states_are_refused(levels):
    ds = with_stream(image(levels, bits=BITS), RLE, rle(levels))
    ds.Rows = 200
    with pytest.raises(errors.HeaderMismatch, match="102400 bytes, but the pixels have 131072"):
        images.decode(written(ds), HERE)
    ds = with_stream(image(levels.astype(np.uint8)), RLE, rle(levels))
    with pytest.raises(errors.HeaderMismatch, match="which are 1 segments, but the run lengths have 2"):
        images.decode(written(ds), HERE)


@pytest.mark.parametrize("frames", ["", "0", "1"])
@pytest.mark.parametrize("syntax", [None, RLE])
def test_no_number_of_frames_is_one(levels, grey, syntax, frames):
    np.testing.assert_array_equal(images.decode(encoded(levels, syntax, NumberOfFrames=frames), HERE).pixels, grey)


@pytest.mark.parametrize("syntax", [syntax for syntax in SYNTAXES if syntax])
@pytest.mark.parametrize("offsets", [True, False])
def test_a_second_frame_that_the_header_does_not_state_is_refused(levels, syntax, offsets):
    ds = with_stream(image(levels, bits=BITS), syntax, lossless(levels)[syntax])
    stream = next(generate_frames(ds.PixelData, number_of_frames=1))
    ds.PixelData = encapsulate([stream, stream], has_bot=offsets)
    with pytest.raises(errors.HeaderMismatch, match="states one frame, the compressed pixels have 2"):
        images.decode(written(ds), HERE)


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2.4.70", dicom_files.JPEG_2000])
def test_a_frame_of_several_fragments_is_one(levels, grey, syntax):
    ds = with_stream(image(levels, bits=BITS), syntax, lossless(levels)[syntax])
    ds.PixelData = encapsulate(list(generate_frames(ds.PixelData, number_of_frames=1)), fragments_per_frame=3)
    np.testing.assert_array_equal(images.decode(written(ds), HERE).pixels, grey)


@pytest.mark.parametrize("width", [256, 255], ids=["even", "odd"])
@pytest.mark.parametrize("vr", ["OW", "OB"])
def test_bytes_in_big_endian_are_swapped_in_words_only(grey, vr, width):
    pixels = np.ascontiguousarray(grey[:255, :width])
    flat = pixels.tobytes() + b"\0" * (pixels.size % 2)
    ds = image(pixels)
    ds.PixelData = np.frombuffer(flat, np.uint16).byteswap().tobytes() if vr == "OW" else flat
    ds["PixelData"].VR = vr
    data = written(ds, ExplicitVRBigEndian)
    np.testing.assert_array_equal(images.decode(data).pixels, pixels)
    dataset = pydicom.dcmread(pydicom.filebase.DicomBytesIO(data))
    np.testing.assert_array_equal(dataset.pixel_array, pixels)
    np.testing.assert_array_equal(images.from_dataset(dataset).pixels, pixels)


def test_words_named_bytes_in_big_endian_are_refused(levels):
    ds = image(levels, bits=BITS)
    ds["PixelData"].VR = "OB"
    assert images.decode(written(ds, ExplicitVRLittleEndian)).pixels.size
    with pytest.raises(errors.HeaderMismatch, match="Big Endian"):
        images.decode(written(ds, ExplicitVRBigEndian))


def test_the_planes_of_one_sample_do_not_matter(levels, grey):
    np.testing.assert_array_equal(images.decode(written(image(levels, bits=BITS, PlanarConfiguration=2))).pixels, grey)


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"PixelRepresentation": 2}, "0 or 1 in PixelRepresentation"),
        (
            {"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB", "PlanarConfiguration": 2},
            "0 or 1 in PlanarConfiguration",
        ),
        ({"HighBit": BITS - 2}, "High Bit 10"),
        ({"HighBit": 16}, "High Bit 16"),
    ],
)
def test_numbers_that_mean_nothing_are_refused(levels, attributes, message):
    with pytest.raises(errors.InvalidHeader, match=message):
        images.decode(written(image(levels, bits=BITS, **attributes)))


@pytest.mark.parametrize("syntax", [None, RLE, "1.2.840.10008.1.2.4.70", "1.2.840.10008.1.2.4.80"])
@pytest.mark.parametrize("highest", [4095, 2400])
def test_unsigned_levels_with_a_header_that_states_a_sign(levels, syntax, highest):
    """All of the range, or the highlights alone, would wrap around to black."""
    cells = np.rint(levels * (highest / 4095)).astype(np.uint16)
    decoded = images.decode(encoded(cells, syntax, PixelRepresentation=1), HERE)
    assert "header_mismatch" in codes(decoded)
    assert "header_mismatch" not in codes(images.decode(encoded(cells, syntax, PixelRepresentation=0), HERE))


@pytest.mark.parametrize("syntax", [None, RLE, "1.2.840.10008.1.2.4.70", "1.2.840.10008.1.2.4.80"])
def test_signed_levels_with_a_header_that_states_none(levels, syntax):
    cells = (levels.astype(np.int16) - 2048).view(np.uint16) & 4095
    assert "header_mismatch" in codes(images.decode(encoded(cells, syntax, PixelRepresentation=0), HERE))
    assert "header_mismatch" not in codes(images.decode(encoded(cells, syntax, PixelRepresentation=1), HERE))


def test_bytes_in_the_other_order(grey):
    noise = np.random.default_rng(0).integers(0, 256, grey.shape, dtype=np.uint16)
    right = grey.astype(np.uint16) << 8 | noise
    assert "header_mismatch" not in codes(images.decode(written(image(right, bits=16)), HERE))
    with pytest.raises(errors.HeaderMismatch, match="the levels are in the other"):
        images.decode(written(image(right.byteswap(), bits=16)), HERE)


def test_rows_and_columns_exchanged(levels):
    narrow = np.ascontiguousarray(levels[:, :192])
    assert codes(images.decode(written(image(narrow, bits=BITS)), HERE)) == ["grey_levels"]
    exchanged = image(narrow, bits=BITS)
    exchanged.Rows, exchanged.Columns = 192, 256
    with pytest.raises(errors.HeaderMismatch, match="256 rows of 192"):
        images.decode(written(exchanged), HERE)


def test_samples_beyond_the_bits_of_their_codestream(levels):
    """A frame header of 12 bits over samples of 16: the stream is damaged, and not an overlay above the samples."""
    stream = bytearray(lossless(levels << 4)["1.2.840.10008.1.2.4.70"])
    stream[stream.index(b"\xff\xc3") + 4] = BITS
    file = written(with_stream(image(levels, bits=BITS), "1.2.840.10008.1.2.4.70", bytes(stream)))
    with pytest.raises(errors.Truncated, match="states samples of 12 bits"):
        images.decode(file, HERE)
