"""Reading DICOM: every transfer syntax gives the same image, and the header determines the grey levels."""

import io
import shutil
import subprocess

import cv2
import imagecodecs
import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.pixels import apply_modality_lut, apply_voi_lut
from pydicom.uid import ExplicitVRLittleEndian

from benchmarks.dicom import dicom_files
from benchmarks.dicom.dicom_files import image, with_stream, written
from cxr_edge import InputLimits, errors, images
from cxr_edge.images.dicom.codestreams.codecs import CODECS as READ
from cxr_edge.model.preprocess import preprocess

HERE = InputLimits(isolated=False)


@pytest.fixture(scope="module")
def chest() -> Dataset:
    """Return the real image at 12 bits with its window, so that every codec can encode it."""
    real = pydicom.dcmread(dicom_files.CHEST)
    return image(
        (real.pixel_array >> 3).astype(np.uint16),
        bits=12,
        PhotometricInterpretation="MONOCHROME1",
        WindowCenter=1875,
        WindowWidth=3750,
    )


@pytest.fixture(scope="module")
def native(chest: Dataset) -> np.ndarray:
    """Return its grey levels, from native pixels."""
    return images.decode(written(chest)).pixels


def levels_of(ds: Dataset) -> np.ndarray:
    """Return every fourth stored level in each direction."""
    return np.ascontiguousarray(np.frombuffer(ds.PixelData, "<u2").reshape(ds.Rows, ds.Columns)[::4, ::4])


def seen(pixels: np.ndarray) -> np.ndarray:
    return preprocess(pixels, (224, 224)).astype(int)


def test_the_real_image_is_shown_as_pydicom_shows_it():
    real = pydicom.dcmread(dicom_files.CHEST)
    expected = 255 * (1 - apply_voi_lut(real.pixel_array, real) / (2**15 - 1))
    decoded = images.read_image(dicom_files.CHEST)
    np.testing.assert_allclose(decoded.pixels, expected, atol=1)
    assert [warning.message for warning in decoded.warnings] == [
        "DICOM: grey levels by the header's window (center 15000, width 30000, LINEAR), inverted (MONOCHROME1)",
    ]


@pytest.mark.parametrize("syntax", dicom_files.NATIVE)
def test_uncompressed_syntaxes_give_the_same_levels(chest, native, syntax):
    np.testing.assert_array_equal(images.decode(written(chest, syntax)).pixels, native)


@pytest.mark.parametrize("isolated", [True, False], ids=["isolated", "here"])
@pytest.mark.parametrize("syntax", dicom_files.CODECS)
def test_compressed_syntaxes_give_the_same_image(chest, native, syntax, isolated):
    decoded = images.decode(written(dicom_files.compressed(chest, syntax)), InputLimits(isolated=isolated)).pixels
    assert np.abs(seen(decoded) - seen(native)).max() <= 1
    name = READ[syntax][0] if syntax in READ else "RLE Lossless"
    if "Lossless" in name and "Near" not in name:
        np.testing.assert_array_equal(decoded, native)


def test_every_codec_is_tested():
    assert set(READ) == {*dicom_files.CODECS, dicom_files.BASELINE} - {"1.2.840.10008.1.2.5"}


def test_jpeg_baseline_gives_the_same_image(chest, native):
    levels = (np.frombuffer(chest.PixelData, "<u2").reshape(native.shape) >> 4).astype(np.uint8)
    eight = image(levels, PhotometricInterpretation="MONOCHROME1", WindowCenter=117, WindowWidth=234)
    lossy = with_stream(eight, dicom_files.BASELINE, imagecodecs.jpeg8_encode(levels, level=95))
    assert np.abs(seen(images.decode(written(lossy)).pixels) - seen(images.decode(written(eight)).pixels)).max() <= 1


@pytest.mark.parametrize(
    "program", ["dcmcjpeg +e1", "dcmcjpeg +el", "dcmcjpls", "dcmcjpls +en", "dcmcrle", "dcmconv +td"]
)
def test_what_another_toolkit_encodes_gives_the_same_image(chest, native, program, tmp_path):
    name, *options = program.split()
    if not shutil.which(name):
        pytest.skip("needs DCMTK (Debian package dcmtk)")
    (tmp_path / "image.dcm").write_bytes(written(chest))
    subprocess.run([name, *options, tmp_path / "image.dcm", tmp_path / "out.dcm"], check=True, capture_output=True)
    assert np.abs(seen(images.read_image(tmp_path / "out.dcm").pixels) - seen(native)).max() <= 1


def test_a_data_set_and_its_file_give_the_same(chest, model):
    data = written(chest)
    dataset = pydicom.dcmread(io.BytesIO(data))
    dataset.WindowCenter  # noqa: B018 - pydicom converts what is accessed
    by_set, by_bytes = model.predict(dataset), model.predict(data)
    assert by_set.values == by_bytes.values
    assert by_set.warnings == by_bytes.warnings
    assert by_set.sha256 is None


def test_an_8_bit_image_without_a_window_equals_its_png_twin(image_path, model):
    pixels = images.read_image(image_path).pixels
    decoded = images.decode(written(image(pixels)))
    np.testing.assert_array_equal(decoded.pixels, pixels)
    (warning,) = decoded.warnings
    assert warning.message == "DICOM: grey levels over the whole range of 8 bits, without a window"
    assert warning.code == "grey_levels"
    assert model.predict(written(image(pixels))).values == model.predict(image_path).values


@pytest.mark.parametrize("bits", [9, 10, 12, 14, 16])
def test_without_a_window_the_whole_range_of_the_bits_is_shown(bits, image_path):
    pixels = images.read_image(image_path).pixels
    deep = np.rint(pixels.astype(float) * (2**bits - 1) / 255).astype(np.uint16)
    np.testing.assert_array_equal(images.decode(written(image(deep, bits=bits))).pixels, pixels)


def test_an_image_that_uses_few_of_its_bits_is_stretched_with_a_warning(image_path):
    pixels = images.read_image(image_path).pixels
    decoded = images.decode(written(image(pixels.astype(np.uint16) * 8 + 300, bits=16)))
    low, high = np.percentile(pixels[::4, ::4], [0.5, 99.5])
    expected = np.clip((pixels - low) / (high - low), 0, 1) * 255
    np.testing.assert_allclose(decoded.pixels, expected, atol=1.5)
    assert "stretched, as they use 3% of the 16 bits" in decoded.warnings[0].message


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize(("slope", "intercept"), [(1, 0), (2.5, -1024), (0.5, 100)])
def test_windows_are_the_standards(chest, function, signed, slope, intercept):
    levels = levels_of(chest)
    stored = (levels.astype(np.int16) - 2048) if signed else levels
    center, width = slope * stored.mean() + intercept, slope * 2000
    ds = image(
        np.ascontiguousarray(stored),
        bits=12,
        RescaleSlope=slope,
        RescaleIntercept=intercept,
        VOILUTFunction=function,
        WindowCenter=[round(center), 1],
        WindowWidth=[width, 10],
    )
    if slope == 1 and intercept == 0:
        del ds.RescaleSlope, ds.RescaleIntercept
    output = apply_voi_lut(apply_modality_lut(stored, ds), ds).astype(float)
    ends = np.sort(slope * np.array([-2048, 2047] if signed else [0, 4095]) + intercept)
    np.testing.assert_allclose(
        images.decode(written(ds)).pixels, 255 * (output - ends[0]) / (ends[1] - ends[0]), atol=0.51
    )


def test_a_falling_rescale_turns_the_levels(chest):
    rising = image(levels_of(chest), bits=12, WindowCenter=1900, WindowWidth=2000, VOILUTFunction="LINEAR_EXACT")
    falling = image(levels_of(chest), bits=12, WindowCenter=4095 - 1900, WindowWidth=2000)
    falling.VOILUTFunction, falling.RescaleSlope, falling.RescaleIntercept = "LINEAR_EXACT", -1, 4095
    upright, turned = (images.decode(written(ds)).pixels.astype(int) for ds in (rising, falling))
    np.testing.assert_allclose(255 - upright, turned, atol=1)


@pytest.mark.parametrize("entry_bits", [8, 12, 16])
def test_look_up_tables_are_the_standards(chest, entry_bits):
    levels = levels_of(chest)
    item = Dataset()
    table = (np.linspace(0, 1, 3000) ** 2 * (2**entry_bits - 1)).astype(np.uint16)
    item.LUTDescriptor = [len(table), 100, entry_bits]
    item.LUTData = table.tobytes()
    item["LUTData"].VR = "OW"
    ds = image(levels, bits=12, VOILUTSequence=[item], WindowCenter=1, WindowWidth=2)
    expected = 255.0 * table[np.clip(levels.astype(int) - 100, 0, 2999)] / (2**entry_bits - 1)
    decoded = images.decode(written(ds))
    np.testing.assert_allclose(decoded.pixels, expected, atol=0.51)
    assert "VOI LUT" in decoded.warnings[0].message
    modality = image(levels, bits=12, ModalityLUTSequence=[item])
    if entry_bits > 8:
        np.testing.assert_allclose(images.decode(written(modality)).pixels, expected, atol=0.51)


def test_padding_is_black_after_inversion_and_not_counted(image_path):
    pixels = images.read_image(image_path).pixels.astype(np.uint16) * 4 + 100
    pixels[:, :200] = 4095
    ds = image(pixels, bits=12, PhotometricInterpretation="MONOCHROME1", PixelPaddingValue=4000)
    ds.PixelPaddingRangeLimit = 4095
    for keyword in ("PixelPaddingValue", "PixelPaddingRangeLimit"):
        ds[keyword].VR = "US"
    decoded = images.decode(written(ds)).pixels
    assert (decoded[:, :200] == 0).all()
    assert decoded[:, 200:].max() > 200


def test_bits_beside_the_stored_ones_are_left_out(chest, native):
    levels = np.frombuffer(chest.PixelData, "<u2").reshape(native.shape)
    upper = image((levels << 4) | 5, bits=12, PhotometricInterpretation="MONOCHROME1", WindowCenter=1875)
    upper.WindowWidth, upper.HighBit = 3750, 15
    np.testing.assert_array_equal(images.decode(written(upper)).pixels, native)
    overlaid = image(levels | 0x8000, bits=12, PhotometricInterpretation="MONOCHROME1", WindowCenter=1875)
    overlaid.WindowWidth = 3750
    np.testing.assert_array_equal(images.decode(written(overlaid)).pixels, native)


def test_an_inverse_presentation_is_inverted_once(image_path):
    pixels = images.read_image(image_path).pixels
    for attributes in ({"PresentationLUTShape": "INVERSE"}, {"PhotometricInterpretation": "MONOCHROME1"}):
        np.testing.assert_array_equal(images.decode(written(image(pixels, **attributes))).pixels, 255 - pixels)
    both = image(pixels, PresentationLUTShape="INVERSE", PhotometricInterpretation="MONOCHROME1")
    np.testing.assert_array_equal(images.decode(written(both)).pixels, 255 - pixels)


def test_grey_stored_as_colour_is_read_and_colour_refused(image_path):
    pixels = images.read_image(image_path).pixels
    rgb = np.dstack([pixels] * 3)
    np.testing.assert_array_equal(images.decode(written(image(rgb))).pixels, pixels)
    planes = image(rgb, PlanarConfiguration=1)
    planes.PixelData = np.moveaxis(rgb, -1, 0).tobytes()
    np.testing.assert_array_equal(images.decode(written(planes)).pixels, pixels)
    luma = image(np.dstack([pixels, np.full_like(pixels, 128), np.full_like(pixels, 128)]))
    luma.PhotometricInterpretation = "YBR_FULL"
    np.testing.assert_array_equal(images.decode(written(luma)).pixels, pixels)
    lossy = with_stream(image(rgb), dicom_files.BASELINE, cv2.imencode(".jpg", rgb)[1].tobytes())
    lossy.PhotometricInterpretation = "YBR_FULL_422"
    assert np.abs(images.decode(written(lossy)).pixels.astype(int) - pixels).mean() < 2
    runs = with_stream(image(rgb), "1.2.840.10008.1.2.5", dicom_files.rle(rgb))
    np.testing.assert_array_equal(images.decode(written(runs)).pixels, pixels)
    rgb[100:200, 100:200, 0] //= 2
    with pytest.raises(errors.Colour, match="got colours"):
        images.decode(written(image(rgb)))


def test_an_implicit_header_under_an_explicit_syntax_is_read(chest, native):
    data = bytearray(written(chest, "1.2.840.10008.1.2"))
    uid = b"1.2.840.10008.1.2\0"
    at = data.index(b"\x02\0\x10\0UI") + 8
    assert data[at : at + len(uid)] == uid
    renamed = written(chest, "1.2.840.10008.1.2").replace(
        b"\x02\0\x10\0UI\x12\0" + uid, b"\x02\0\x10\0UI\x14\0" + ExplicitVRLittleEndian.encode() + b"\0"
    )
    np.testing.assert_array_equal(images.decode(renamed).pixels, native)
