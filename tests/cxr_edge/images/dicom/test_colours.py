"""Grey stored as colour: the header, the codestream and the samples each state what its three channels are."""

import struct

import imagecodecs
import numpy as np
import pytest
from pydicom.dataset import Dataset

from benchmarks.dicom import dicom_files
from benchmarks.dicom.dicom_files import BASELINE, JPEG_2000, image, rle, with_stream, written
from cxr_edge import InputLimits, errors, images

HERE = InputLimits(isolated=False)
RLE = "1.2.840.10008.1.2.5"
JPEG_LOSSLESS = "1.2.840.10008.1.2.4.70"
JPEG_LS = "1.2.840.10008.1.2.4.80"
ADOBE, JFIF = b"\xff\xee", b"\xff\xe0"
#: Photometric Interpretation → the channels of grey in it.
RGB, LUMA_CHROMA = ("RGB",), ("YBR_FULL", "YBR_FULL_422")


@pytest.fixture(scope="module")
def grey(image_path) -> np.ndarray:
    return np.ascontiguousarray(images.read_image(image_path).pixels[::4, ::4])


def channels(grey: np.ndarray, *, chroma: bool) -> np.ndarray:
    other = np.full_like(grey, 128) if chroma else grey
    return np.dstack([grey, other, other])


def labelled(pixels: np.ndarray, photometric: str) -> Dataset:
    return image(pixels, PhotometricInterpretation=photometric)


def baseline(pixels: np.ndarray, segment: bytes = b"", names: bytes = b"\1\2\3") -> bytes:
    """Encode channels as they are, with components of these names and one segment before the frame."""
    stream = bytearray(imagecodecs.jpeg8_encode(pixels, level=100, colorspace="RGB", outcolorspace="RGB"))
    assert stream[2:4] == ADOBE
    stream[2 : 4 + struct.unpack_from(">H", stream, 4)[0]] = segment
    frame, scan = stream.index(b"\xff\xc0"), stream.index(b"\xff\xda")
    for at, name in enumerate(names):
        stream[frame + 10 + 3 * at] = stream[scan + 5 + 2 * at] = name
    return bytes(stream)


def adobe(transform: int) -> bytes:
    return ADOBE + struct.pack(">H5sHHHB", 14, b"Adobe", 100, 0, 0, transform)


#: What a JPEG states → its segment and the names of its components.
JPEGS = {
    "nothing": (b"", b"\1\2\3"),
    "names": (b"", b"RGB"),
    "Adobe, RGB": (adobe(0), b"\1\2\3"),
    "Adobe, YCbCr": (adobe(1), b"\1\2\3"),
    "JFIF": (JFIF + struct.pack(">H5sHBHHBB", 16, b"JFIF\0", 0x101, 0, 1, 1, 0, 0), b"\1\2\3"),
}


@pytest.mark.parametrize("photometric", [*RGB, *LUMA_CHROMA])
@pytest.mark.parametrize("chroma", [False, True], ids=["RGB within", "luma and chroma within"])
@pytest.mark.parametrize("states", JPEGS)
def test_jpeg_is_read_by_its_samples_whatever_states_its_colours(grey, states, chroma, photometric):
    segment, names = JPEGS[states]
    stream = baseline(channels(grey, chroma=chroma), segment, names)
    data = written(with_stream(labelled(channels(grey, chroma=chroma), photometric), BASELINE, stream))
    by_header = (photometric in LUMA_CHROMA) == chroma
    by_stream = (states in ("nothing", "Adobe, YCbCr", "JFIF")) == chroma
    if not by_header and not by_stream:
        with pytest.raises(errors.Colour):
            images.decode(data, HERE)
        return
    decoded = images.decode(data, HERE)
    assert np.abs(decoded.pixels.astype(int) - grey).mean() < 1
    assert [warning.code for warning in decoded.warnings] == ["grey_levels", *["header_mismatch"] * (not by_header)]


@pytest.mark.parametrize("chroma", [False, True], ids=["RGB", "YBR_FULL"])
@pytest.mark.parametrize("syntax", [None, RLE, JPEG_LOSSLESS, JPEG_LS, JPEG_2000])
def test_where_nothing_else_states_colours_the_header_does(grey, syntax, chroma):
    pixels = channels(grey, chroma=chroma)
    encoders = {
        RLE: rle,
        JPEG_LOSSLESS: lambda p: imagecodecs.jpeg8_encode(p, lossless=True, colorspace="RGB", outcolorspace="RGB"),
        JPEG_LS: imagecodecs.jpegls_encode,
        JPEG_2000: lambda p: imagecodecs.jpeg2k_encode(p, level=0, reversible=True, codecformat="j2k", mct=False),
    }
    ds = labelled(pixels, "YBR_FULL" if chroma else "RGB")
    data = written(ds if syntax is None else with_stream(ds, syntax, encoders[syntax](pixels)))
    decoded = images.decode(data, HERE)
    np.testing.assert_array_equal(decoded.pixels, grey)
    assert [warning.code for warning in decoded.warnings] == ["grey_levels"]
    if syntax not in (None, JPEG_LOSSLESS):
        ds.PhotometricInterpretation = "RGB" if chroma else "YBR_FULL"
        with pytest.raises(errors.Colour):
            images.decode(written(with_stream(ds, syntax, encoders[syntax](pixels))), HERE)


@pytest.mark.parametrize("photometric", ["YBR_RCT", "RGB", "YBR_FULL"])
def test_transformed_components_are_rgb_again(grey, photometric):
    pixels = channels(grey, chroma=False)
    stream = imagecodecs.jpeg2k_encode(pixels, level=0, reversible=True, codecformat="j2k", mct=True)
    decoded = images.decode(written(with_stream(labelled(pixels, photometric), JPEG_2000, stream)), HERE)
    np.testing.assert_array_equal(decoded.pixels, grey)
    assert ("header_mismatch" in [warning.code for warning in decoded.warnings]) == (photometric == "YBR_FULL")


@pytest.mark.parametrize("planar", [0, 1])
def test_the_other_planar_configuration_is_refused(grey, planar):
    pixels = channels(grey, chroma=False)
    ds = labelled(pixels, "RGB")
    ds.PlanarConfiguration = planar
    ds.PixelData = (pixels if planar else np.moveaxis(pixels, -1, 0)).tobytes()
    with pytest.raises(errors.HeaderMismatch, match=f"states Planar Configuration {planar}, .* in {1 - planar}"):
        images.decode(written(ds))


def test_even_where_an_image_is_so_smooth_that_both_look_grey():
    smooth = (np.add.outer(np.arange(200), np.arange(91)) // 2).astype(np.uint8)
    ds = labelled(channels(smooth, chroma=False), "RGB")
    np.testing.assert_array_equal(images.decode(written(ds)).pixels, smooth)
    ds.PixelData = np.moveaxis(channels(smooth, chroma=False), -1, 0).tobytes()
    with pytest.raises(errors.HeaderMismatch, match="Planar Configuration 0"):
        images.decode(written(ds))


def test_halved_chroma_that_is_whole_is_mentioned(grey):
    pixels = channels(grey, chroma=True)
    data = written(with_stream(labelled(pixels, "YBR_FULL_422"), JPEG_LS, imagecodecs.jpegls_encode(pixels)))
    decoded = images.decode(data, HERE)
    np.testing.assert_array_equal(decoded.pixels, grey)
    assert "states halved chroma" in decoded.warnings[1].message


def test_signed_colours_are_refused(grey):
    with pytest.raises(errors.InvalidHeader, match="got 8 bits, signed"):
        images.decode(written(image(channels(grey, chroma=False), PixelRepresentation=1)))


def test_colour_is_refused_whatever_the_codestream_states(grey):
    pixels = channels(grey, chroma=False)
    pixels[100:150, :, 2] ^= 0x80
    for segment, names in JPEGS.values():
        stream = baseline(pixels, segment, names)
        with pytest.raises(errors.Colour, match="got colours"):
            images.decode(written(with_stream(labelled(pixels, "RGB"), BASELINE, stream)), HERE)


def test_a_codestream_in_a_file_of_its_own_is_converted_by_its_decoder(grey):
    pixels = channels(grey, chroma=True)
    stream = imagecodecs.jpeg2k_encode(
        pixels, level=0, reversible=True, codecformat="jp2", colorspace="SYCC", mct=False
    )
    data = written(with_stream(labelled(pixels, "YBR_FULL"), dicom_files.JPEG_2000, stream))
    assert np.abs(images.decode(data, HERE).pixels.astype(int) - grey).max() <= 1
