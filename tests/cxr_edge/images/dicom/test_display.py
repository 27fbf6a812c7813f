"""How a header says that an image is shown; what it says wrongly is left out, and never costs the image."""

import struct

import imagecodecs
import numpy as np
import pytest
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import Tag

from benchmarks.dicom import dicom_files
from benchmarks.dicom.dicom_files import image, with_stream, written
from cxr_edge import errors, images
from cxr_edge.images import DecodedImage


@pytest.fixture(scope="module")
def pixels(image_path) -> np.ndarray:
    return np.ascontiguousarray(images.read_image(image_path).pixels[::4, ::4])


@pytest.fixture(scope="module")
def twelve(pixels) -> np.ndarray:
    """Return the image at 12 bits; over their whole range it is the image at 8 bits."""
    return np.rint(pixels * (4095 / 255)).astype(np.uint16)


def decoded(ds: Dataset) -> DecodedImage:
    return images.decode(written(ds))


def codes(image: DecodedImage) -> list[str]:
    """Return the codes of an image's warnings but the one that says how it is shown."""
    assert image.warnings[0].code == "grey_levels"
    return [warning.code for warning in image.warnings[1:]]


def table(descriptor: list[int], entries: np.ndarray, vr: str = "US") -> Dataset:
    """Return a look-up table; its entries are words, or packed bytes."""
    item = Dataset()
    data = entries.tobytes() if entries.dtype == np.uint8 else entries.astype("<u2").tobytes()
    item.add_new(0x00283002, vr, descriptor)
    item.add_new(0x00283006, "OW", data)
    return item


def with_raw(ds: Dataset, tag: int, vr: str, value: bytes) -> Dataset:
    """Add an attribute with bytes that pydicom would not write."""
    ds[tag] = RawDataElement(Tag(tag), vr, len(value), value, 0, is_implicit_VR=False, is_little_endian=True)
    return ds


RAMP = np.arange(4096)
OF_GREY = {
    "a window": {"WindowCenter": 2048, "WindowWidth": 4096},
    "a window of two": {"WindowCenter": [600, 1], "WindowWidth": [1100, 2]},
    "a rescale": {"RescaleSlope": 1, "RescaleIntercept": -1024},
    "both": {"WindowCenter": 500, "WindowWidth": 2000, "RescaleSlope": 1, "RescaleIntercept": -1024},
    "a VOI LUT": {"VOILUTSequence": [table([4096, 0, 12], RAMP)]},
    "a modality LUT": {"ModalityLUTSequence": [table([256, 0, 8], RAMP[:256][::-1])]},
    "padding": {"PixelPaddingValue": 100},
}


@pytest.mark.parametrize("kind", OF_GREY)
@pytest.mark.parametrize("stored", ["RGB", "planes", "YBR_FULL", "RLE", "JPEG"])
def test_what_is_for_grey_alone_is_left_out_of_colour(pixels, stored, kind):
    rgb = np.dstack([pixels] * 3)
    ds = image(rgb, **OF_GREY[kind])
    if "PixelPaddingValue" in ds:
        ds["PixelPaddingValue"].VR = "US"
    if stored == "planes":
        ds.PlanarConfiguration, ds.PixelData = 1, np.moveaxis(rgb, -1, 0).tobytes()
    elif stored == "YBR_FULL":
        chroma = np.full_like(pixels, 128)
        ds.PhotometricInterpretation, ds.PixelData = stored, np.dstack([pixels, chroma, chroma]).tobytes()
    elif stored == "RLE":
        ds = with_stream(ds, "1.2.840.10008.1.2.5", dicom_files.rle(rgb))
    elif stored == "JPEG":
        ds = with_stream(ds, dicom_files.BASELINE, imagecodecs.jpeg8_encode(rgb, level=100))
        ds.PhotometricInterpretation = "YBR_FULL_422"
    shown = decoded(ds)
    np.testing.assert_allclose(shown.pixels, pixels, atol=3 if stored == "JPEG" else 0)
    assert codes(shown) == ["attribute_left_out"]
    assert "attributes without a meaning for colour were left out" in shown.warnings[1].message


def test_colour_that_is_for_an_inverse_presentation_is_not_inverted(pixels):
    shown = decoded(image(np.dstack([pixels] * 3), PresentationLUTShape="INVERSE"))
    np.testing.assert_array_equal(shown.pixels, pixels)


@pytest.mark.parametrize("stated", [0, 8, 10, 12, 14, 16, 99])
@pytest.mark.parametrize("bits", [8, 10, 12, 16])
def test_a_voi_lut_is_scaled_by_its_entries_whatever_its_descriptor_states(twelve, stated, bits):
    entries = np.rint(RAMP * ((2**bits - 1) / 4095)).astype(int)
    shown = decoded(image(twelve, bits=12, VOILUTSequence=[table([4096, 0, stated], entries)]))
    np.testing.assert_allclose(shown.pixels, twelve * (255 / 4095), atol=1.01)
    assert codes(shown) == ([] if stated == bits else ["lut_bits"])
    if stated != bits:
        assert f"states {stated} bits an entry, but its entries need {bits}" in shown.warnings[1].message


def test_a_voi_lut_that_fits_its_descriptor_may_end_below_white(twelve):
    shown = decoded(image(twelve, bits=12, VOILUTSequence=[table([4096, 0, 12], RAMP * 3 // 4)]))
    np.testing.assert_allclose(shown.pixels, 255 * (twelve.astype(int) * 3 // 4) / 4095, atol=0.51)
    assert codes(shown) == []


@pytest.mark.parametrize("stated", [8, 16])
def test_entries_of_a_byte_may_be_packed(twelve, stated):
    shown = decoded(image(twelve, bits=12, VOILUTSequence=[table([4096, 0, stated], (RAMP >> 4).astype(np.uint8))]))
    np.testing.assert_allclose(shown.pixels, twelve >> 4, atol=0.51)
    assert codes(shown) == ([] if stated == 8 else ["lut_bits"])


@pytest.mark.parametrize(("stated", "there", "used"), [(0, 4096, 4096), (4000, 4096, 4000), (4096, 4000, 4000)])
def test_a_lut_with_another_number_of_entries_than_stated_gives_a_warning(twelve, stated, there, used):
    entries = np.minimum(np.arange(there), 4095)
    for keyword in ("VOILUTSequence", "ModalityLUTSequence"):
        lut = table([stated, 0, 12], entries)
        shown = decoded(image(twelve, bits=12, **{keyword: [lut]}))
        np.testing.assert_allclose(shown.pixels, np.minimum(twelve, used - 1) * (255 / 4095), atol=0.51)
        assert codes(shown) == ["lut_entries"]
        assert f"states {stated or 65536} entries, but has {there}" in shown.warnings[1].message


def test_a_whole_lut_of_65536_entries_states_0_of_them(pixels):
    deep = pixels.astype(np.uint16) * 257
    shown = decoded(image(deep, VOILUTSequence=[table([0, 0, 16], np.arange(65536))]))
    np.testing.assert_array_equal(shown.pixels, pixels)
    assert codes(shown) == []


@pytest.mark.parametrize("vr", ["US", "SS"])
@pytest.mark.parametrize(("signed", "intercept"), [(True, 0), (False, -2048), (False, 0)])
def test_the_first_value_of_a_lut_has_the_sign_of_the_values(twelve, vr, signed, intercept):
    """A table from -2048 on: for signed pixels, for a negative rescale, and, where no value is that low, its end."""
    ds = image((twelve.astype(np.int16) - 2048) if signed else twelve, bits=12)
    lut = table([4096, -2048 if vr == "SS" else 65536 - 2048, 12], RAMP, vr)
    ds.RescaleSlope, ds.RescaleIntercept, ds.VOILUTSequence = 1, intercept, [lut]
    expected = twelve if signed or intercept else np.minimum(twelve.astype(int) + 2048, 4095)
    np.testing.assert_allclose(decoded(ds).pixels, expected * (255 / 4095), atol=0.51)


def test_a_modality_luts_bits_matter_only_without_a_window(twelve):
    lut = table([4096, 0, 16], RAMP)
    windowed = decoded(image(twelve, bits=12, ModalityLUTSequence=[lut], WindowCenter=2048, WindowWidth=4096))
    plain = decoded(image(twelve, bits=12, ModalityLUTSequence=[lut]))
    for shown in (windowed, plain):
        np.testing.assert_allclose(shown.pixels, twelve * (255 / 4095), atol=0.51)
    assert (codes(windowed), codes(plain)) == ([], ["lut_bits"])


#: Attributes that cannot be used: the tag and the VR of an element, and its bytes; or a look-up table.
WINDOW = {"WindowCenter": b"2048", "WindowWidth": b"4096"}
UNUSABLE = {
    "a width of 0": WINDOW | {"WindowWidth": b"0 "},
    "a width below 0": WINDOW | {"WindowWidth": b"-5"},
    "a width below 1": WINDOW | {"WindowWidth": b".5"},
    "a width of 0, exact": WINDOW | {"WindowWidth": b"0 ", "VOILUTFunction": b"LINEAR_EXACT"},
    "an infinite width": WINDOW | {"WindowWidth": b"inf "},
    "a width that overflows": WINDOW | {"WindowWidth": b"1e999 "},
    "a width that is no number": WINDOW | {"WindowWidth": b"nan "},
    "a width that is text": WINDOW | {"WindowWidth": b"wide"},
    "a center that is no number": WINDOW | {"WindowCenter": b"nan "},
    "a center alone": {"WindowCenter": b"2048"},
    "a width alone": {"WindowWidth": b"4096"},
    "a window beside the levels": {"WindowCenter": b"90000 ", "WindowWidth": b"20"},
    "an unknown function": WINDOW | {"VOILUTFunction": b"WEIRD "},
    "a slope of 0": {"RescaleSlope": b"0 ", "RescaleIntercept": b"0 "},
    "a slope that is no number": {"RescaleSlope": b"nan "},
    "an infinite slope": {"RescaleSlope": b"-inf"},
    "a slope that overflows": {"RescaleSlope": b"1e306 "},
    "a slope that is text": {"RescaleSlope": b"one "},
    "an infinite intercept": {"RescaleSlope": b"1 ", "RescaleIntercept": b"inf "},
    "an intercept that hides the levels": {"RescaleSlope": b"1 ", "RescaleIntercept": b"1e30"},
    "no entries": {"VOILUTSequence": table([4096, 0, 12], RAMP[:0])},
    "entries of 0": {"VOILUTSequence": table([4096, 0, 12], RAMP * 0)},
    "entries alike": {"VOILUTSequence": table([4096, 0, 12], RAMP * 0 + 7)},
    "no descriptor": {"VOILUTSequence": table([], RAMP)},
    "a short descriptor": {"VOILUTSequence": table([4096, 0], RAMP)},
    "an empty item": {"VOILUTSequence": Dataset()},
    "entries for other values": {"VOILUTSequence": table([4096, 20000, 12], RAMP)},
    "a modality LUT of 0": {"ModalityLUTSequence": table([4096, 0, 12], RAMP * 0)},
    "a modality LUT without a descriptor": {"ModalityLUTSequence": table([], RAMP)},
    "a damaged sequence": {"VOILUTSequence": b"\xfe\xff\x00\xe0\xff\x00\x00\x00\x01\x02"},
    "a presentation LUT": {"PresentationLUTSequence": table([4096, 0, 12], RAMP[::-1])},
    "padding of all values": {"PixelPaddingValue": b"\0\0", "PixelPaddingRangeLimit": b"\xff\xff"},
    "a shutter without edges": {"ShutterShape": b"RECTANGULAR "},
    "a shutter of another shape": {"ShutterShape": b"BITMAP"},
    "shutters of other shapes": {"ShutterShape": b"BITMAP\\SQUARE\\"},
    "a round shutter without a radius": {"ShutterShape": b"CIRCULAR", "CenterOfCircularShutter": b"128\\128 "},
    "a round shutter without a column": {"ShutterShape": b"CIRCULAR", "CenterOfCircularShutter": b"128 ",
                                         "RadiusOfCircularShutter": b"50"},
    "a round shutter of radius 0": {"ShutterShape": b"CIRCULAR", "CenterOfCircularShutter": b"128\\128 ",
                                    "RadiusOfCircularShutter": b"0 "},
    "a shutter of two vertices": {"ShutterShape": b"POLYGONAL ", "VerticesOfThePolygonalShutter": b"1\\1\\90\\90 "},
    "a shutter of half a vertex": {"ShutterShape": b"POLYGONAL ",
                                   "VerticesOfThePolygonalShutter": b"1\\1\\1\\90\\90\\90\\5 "},
    "a shutter whose edges are text": {"ShutterShape": b"POLYGONAL ", "VerticesOfThePolygonalShutter": b"here"},
    "a shutter without end": {"ShutterShape": b"CIRCULAR", "CenterOfCircularShutter": b"128\\128 ",
                              "RadiusOfCircularShutter": b"inf "},
    "a shutter over everything": {"ShutterShape": b"CIRCULAR", "CenterOfCircularShutter": b"9000\\9000 ",
                                  "RadiusOfCircularShutter": b"50"},
}  # fmt: skip


def with_unusable(ds: Dataset, attributes: dict[str, bytes | Dataset]) -> Dataset:
    for keyword, value in attributes.items():
        if isinstance(value, Dataset):
            setattr(ds, keyword, [value])
        else:
            tag = Tag(keyword)
            vr = {"ShutterShape": "CS", "VOILUTFunction": "CS", "VOILUTSequence": "SQ"}.get(keyword, "DS")
            with_raw(ds, tag, "US" if "Padding" in keyword else vr, value)
    return ds


@pytest.mark.parametrize("kind", UNUSABLE)
def test_what_cannot_be_used_is_left_out_and_said_so(pixels, twelve, kind):
    shown = decoded(with_unusable(image(twelve, bits=12), UNUSABLE[kind]))
    np.testing.assert_array_equal(shown.pixels, pixels)
    assert codes(shown) == ["attribute_left_out"]
    assert "was left out: expected" in shown.warnings[1].message or "damaged" in shown.warnings[1].message


def test_attributes_longer_than_the_standard_allows_are_left_out(pixels, twelve):
    vertices = with_raw(image(twelve, bits=12, ShutterShape="POLYGONAL"), 0x00181620, "IS", b"1\\" * 5_000_000 + b"1 ")
    entries = image(twelve, bits=12, VOILUTSequence=[table([4096, 0, 12], np.resize(RAMP, 5_000_000))])
    for ds in (vertices, entries):
        shown = images.from_dataset(ds)
        np.testing.assert_array_equal(shown.pixels, pixels)
        assert codes(shown) == ["attribute_left_out"]
        assert "expected at most 65" in shown.warnings[1].message


def test_what_can_be_used_beside_it_still_counts(twelve):
    lut = table([4096, 0, 12], RAMP * 0)
    both = image(twelve, bits=12, VOILUTSequence=[lut], WindowCenter=1000, WindowWidth=500)
    window = image(twelve, bits=12, WindowCenter=1000, WindowWidth=500)
    np.testing.assert_array_equal(decoded(both).pixels, decoded(window).pixels)
    both = image(twelve, bits=12, RescaleSlope=0, WindowCenter=1000, WindowWidth=500)
    np.testing.assert_array_equal(decoded(both).pixels, decoded(window).pixels)


def test_the_first_of_several_windows_counts(twelve):
    several = image(twelve, bits=12, WindowCenter=[1000, 2048], WindowWidth=[500, 4096, 9])
    first = image(twelve, bits=12, WindowCenter=1000, WindowWidth=500)
    np.testing.assert_array_equal(decoded(several).pixels, decoded(first).pixels)
    odd = with_raw(several, 0x00281050, "DS", b"1000\\ab\\ ")
    np.testing.assert_array_equal(decoded(odd).pixels, decoded(first).pixels)


@pytest.mark.parametrize("exponent", [-12, -6, 6, 12])
def test_a_rescale_of_any_size_shows_the_whole_range(pixels, twelve, exponent):
    shown = decoded(image(twelve, bits=12, RescaleSlope=f"1e{exponent}", RescaleIntercept=0))
    np.testing.assert_array_equal(shown.pixels, pixels)
    assert codes(shown) == []


ROWS, COLUMNS = np.mgrid[1:257, 1:257]
SHUTTERS = {
    "RECTANGULAR": (
        {"ShutterLeftVerticalEdge": 11, "ShutterRightVerticalEdge": 200, "ShutterUpperHorizontalEdge": 21,
         "ShutterLowerHorizontalEdge": 250},
        (COLUMNS > 11) & (COLUMNS < 200) & (ROWS > 21) & (ROWS < 250),
    ),
    "CIRCULAR": (
        {"CenterOfCircularShutter": [120, 140], "RadiusOfCircularShutter": 90},
        (ROWS - 120) ** 2 + (COLUMNS - 140) ** 2 <= 90**2,
    ),
    "POLYGONAL": (
        {"VerticesOfThePolygonalShutter": [21, 31, 21, 231, 221, 231]},
        (ROWS >= 21) & (COLUMNS <= 231) & (ROWS - 21 <= COLUMNS - 31),
    ),
}  # fmt: skip


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2", "RGB"])
@pytest.mark.parametrize("shapes", ["RECTANGULAR", "CIRCULAR", "POLYGONAL", "RECTANGULAR CIRCULAR POLYGONAL"])
def test_a_shutter_covers_what_a_viewer_does_not_show(pixels, shapes, photometric):
    levels = np.dstack([pixels] * 3) if photometric == "RGB" else pixels
    whole = decoded(image(levels, PhotometricInterpretation=photometric)).pixels
    ds = image(levels, PhotometricInterpretation=photometric, ShutterShape=shapes.split(), ShutterPresentationValue=0)
    visible = np.ones_like(pixels, bool)
    for shape in shapes.split():
        attributes, opening = SHUTTERS[shape]
        visible &= opening
        for keyword, value in attributes.items():
            setattr(ds, keyword, value)
    shown = decoded(ds)
    np.testing.assert_array_equal(shown.pixels, np.where(visible, whole, 0))
    assert codes(shown) == ["shutter"]
    assert f"{(~visible).mean():.0%} of the image is covered" in shown.warnings[1].message


@pytest.mark.parametrize("ends", [(0, 257, -5, 9000), (1, 256, 1, 256)])
def test_a_shutter_around_the_whole_image_covers_nothing(pixels, ends):
    edges = dict(zip(SHUTTERS["RECTANGULAR"][0], ends, strict=True))
    shown = decoded(image(pixels, ShutterShape="RECTANGULAR", **edges))
    np.testing.assert_array_equal(shown.pixels, pixels)
    assert codes(shown) == []


def test_a_round_shutter_is_round_where_pixels_are_not_square(pixels):
    attributes, _ = SHUTTERS["CIRCULAR"]
    shown = decoded(image(pixels, ShutterShape="CIRCULAR", **attributes, PixelAspectRatio=[2, 1])).pixels
    visible = (2 * (ROWS - 120)) ** 2 + (COLUMNS - 140) ** 2 <= 90**2
    np.testing.assert_array_equal(shown, np.where(visible, pixels, 0))


def test_a_shutters_cover_has_its_grey_level(pixels):
    attributes, visible = SHUTTERS["CIRCULAR"]
    ds = image(pixels, ShutterShape="CIRCULAR", **attributes, ShutterPresentationValue=0x8080)
    np.testing.assert_array_equal(decoded(ds).pixels, np.where(visible, pixels, 128))
    odd = decoded(with_raw(ds, 0x00181622, "US", b"\1\0\2\0"))
    np.testing.assert_array_equal(odd.pixels, np.where(visible, pixels, 0))
    assert codes(odd) == ["attribute_left_out", "shutter"]


def test_shutters_that_leave_nothing_together_are_left_out(pixels):
    ds = image(pixels, ShutterShape=["RECTANGULAR", "CIRCULAR"], CenterOfCircularShutter=[30, 30])
    ds.RadiusOfCircularShutter = 20
    for keyword, value in zip(SHUTTERS["RECTANGULAR"][0], (200, 250, 200, 250), strict=True):
        setattr(ds, keyword, value)
    shown = decoded(ds)
    np.testing.assert_array_equal(shown.pixels, pixels)
    assert codes(shown) == ["attribute_left_out"]


def test_one_unusable_shutter_leaves_the_others(pixels):
    attributes, visible = SHUTTERS["CIRCULAR"]
    shown = decoded(image(pixels, ShutterShape=["RECTANGULAR", "CIRCULAR"], **attributes))
    np.testing.assert_array_equal(shown.pixels, np.where(visible, pixels, 0))
    assert codes(shown) == ["attribute_left_out", "shutter"]


def test_what_a_shutter_covers_does_not_count_for_stretching(pixels):
    attributes, visible = SHUTTERS["CIRCULAR"]
    dim = pixels.astype(np.uint16)
    bright = np.where(visible, dim, 65535).astype(np.uint16)
    expected, shown = (decoded(image(levels, ShutterShape="CIRCULAR", **attributes)) for levels in (dim, bright))
    np.testing.assert_array_equal(shown.pixels, expected.pixels)
    assert "stretched" in shown.warnings[0].message


@pytest.mark.parametrize(
    ("bits", "signed", "value", "limit", "padded"),
    [
        (12, True, -2048, None, [-2048]),
        (12, True, -2000, -1900, range(-2000, -1899)),
        (12, True, -1900, -2000, range(-2000, -1899)),
        (12, True, 2048, None, [-2048]),  # two's complement of 12 bits, written as unsigned
        (16, True, -32768, -32000, range(-32768, -31999)),
        (16, True, 32768, None, [-32768]),
        (12, False, 4095, None, [4095]),
        (12, False, 0, 5, range(6)),
        (16, False, -1, None, [65535]),
    ],
)
def test_padding_has_the_sign_of_the_pixels(pixels, bits, signed, value, limit, padded):
    least = -(2 ** (bits - 1)) if signed else 0
    dtype = np.int16 if signed else np.uint16
    levels = (np.rint(pixels * ((2**bits - 1) / 255)) + least).astype(dtype)
    levels[:40, :40] = np.resize(list(padded), (40, 40)).astype(dtype)
    ds = with_raw(image(levels, bits=bits), 0x00280120, "US", struct.pack("<H", value % 65536))
    if limit is not None:
        with_raw(ds, 0x00280121, "US", struct.pack("<H", limit % 65536))
    whole = decoded(image(levels, bits=bits)).pixels
    shown = decoded(ds)
    np.testing.assert_array_equal(shown.pixels, np.where(np.isin(levels, list(padded)), 0, whole))
    assert (shown.pixels[:40, :40] == 0).all()
    assert codes(shown) == []


def test_padding_beside_the_bits_stored_is_found(pixels, twelve):
    """Scanners write -2000 into 16 bits of which 12 are stored and unsigned."""
    levels = twelve.copy()
    levels[:40, :40] = 65536 - 2000
    ds = with_raw(image(levels, bits=12), 0x00280120, "US", struct.pack("<h", -2000))
    shown = decoded(ds)
    assert (shown.pixels[:40, :40] == 0).all()
    np.testing.assert_array_equal(shown.pixels[40:], pixels[40:])


@pytest.mark.parametrize(
    ("photometric", "shape", "inverted", "warned"),
    [
        ("MONOCHROME1", None, True, False),
        ("MONOCHROME1", "INVERSE", True, False),
        ("MONOCHROME1", "IDENTITY", True, True),
        ("MONOCHROME2", None, False, False),
        ("MONOCHROME2", "IDENTITY", False, False),
        ("MONOCHROME2", "INVERSE", True, True),
    ],
)
def test_attributes_of_polarity_that_contradict_each_other_give_a_warning(pixels, photometric, shape, inverted, warned):
    ds = image(pixels, PhotometricInterpretation=photometric)
    if shape:
        ds.PresentationLUTShape = shape
    shown = decoded(ds)
    np.testing.assert_array_equal(shown.pixels, 255 - pixels if inverted else pixels)
    assert codes(shown) == (["polarity"] if warned else [])


def test_an_image_that_its_window_shows_alike_is_blank(pixels):
    with pytest.raises(errors.Blank, match="for DICOM window and shutter"):
        decoded(image(pixels // 2, WindowCenter=200, WindowWidth=2))


def test_padding_over_the_patient_is_warned_of(pixels):
    """A value that levels of the patient have, too, makes them black."""
    saturated = np.minimum(pixels, 200)
    assert "padding" in codes(decoded(image(saturated, PixelPaddingValue=200)))
    bordered = np.pad(saturated[8:-8, 8:-8], 8, constant_values=255)
    assert "padding" not in codes(decoded(image(bordered, PixelPaddingValue=255)))
