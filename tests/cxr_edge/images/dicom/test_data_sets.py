"""Data sets that a program hands over: read as their file is, or refused with a code; none costs the others."""

import copy
import io
import os

import imagecodecs
import numpy as np
import pydicom
import pytest
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, RLELossless

import cxr_edge
from benchmarks.dicom import dicom_files
from benchmarks.dicom.dicom_files import JPEG_2000, image, written
from cxr_edge import InputLimits, errors, images

HERE = InputLimits(isolated=False)
SYNTAXES = (*dicom_files.NATIVE, *dicom_files.CODECS, dicom_files.BASELINE)


@pytest.fixture(scope="module")
def twelve(image_path) -> np.ndarray:
    """Return an image at 12 bits."""
    return np.ascontiguousarray(images.read_image(image_path).pixels[::4, ::4].astype(np.uint16) * 16 + 8)


def encoded(levels: np.ndarray, syntax: str) -> bytes:
    """Return a file in a transfer syntax."""
    table = Dataset()
    table.add_new(0x00283002, "US", [4096, 0, 12])
    table.add_new(0x00283006, "OW", (np.arange(4096, dtype="<u2") ** 2 // 4096).astype("<u2").tobytes())
    attributes = (
        {"VOILUTSequence": [table]} if syntax != ExplicitVRBigEndian else {"WindowCenter": 2000, "WindowWidth": 3000}
    )
    if syntax == dicom_files.BASELINE:
        eight = (levels >> 4).astype(np.uint8)
        return written(dicom_files.with_stream(image(eight), syntax, imagecodecs.jpeg8_encode(eight, level=95)))
    ds = image(levels, bits=12, **attributes)
    return written(ds, syntax) if syntax in dicom_files.NATIVE else written(dicom_files.compressed(ds, syntax))


def file(data: bytes, tmp_path) -> str:
    path = tmp_path / "image.dcm"
    path.write_bytes(data)
    return str(path)


def touched(ds: Dataset) -> Dataset:
    """Make pydicom convert every element."""
    for element in ds.iterall():
        assert element.value is not None or not element.VM
    return ds


def streamed(data: bytes) -> Dataset:
    with io.BytesIO(data) as stream:
        return pydicom.dcmread(stream)


def buffered(ds: Dataset) -> Dataset:
    value = ds.PixelData
    ds["PixelData"].value = io.BytesIO(b"before" + value)
    ds["PixelData"].value.seek(6)
    return ds


WAYS = {
    "from a path": lambda data, tmp: pydicom.dcmread(file(data, tmp)),
    "from a stream that is closed": lambda data, _: streamed(data),
    "converted": lambda data, _: touched(streamed(data)),
    "a deep copy": lambda data, tmp: copy.deepcopy(touched(pydicom.dcmread(file(data, tmp)))),
    "deferred": lambda data, tmp: pydicom.dcmread(file(data, tmp), defer_size=64),
    "deferred, from a stream": lambda data, _: pydicom.dcmread(io.BytesIO(data), defer_size=64),
    "deferred, then converted": lambda data, tmp: touched(pydicom.dcmread(file(data, tmp), defer_size=64)),
    "a buffer": lambda data, _: buffered(streamed(data)),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("syntax", SYNTAXES)
def test_a_data_set_is_read_as_its_file_is(twelve, syntax, way, tmp_path):
    data = encoded(twelve, syntax)
    by_file, by_set = images.decode(data, HERE), images.from_dataset(WAYS[way](data, tmp_path), HERE)
    np.testing.assert_array_equal(by_set.pixels, by_file.pixels)
    assert by_set.warnings == by_file.warnings
    assert by_set.pixels.max() > 100


@pytest.mark.parametrize("way", ["from a path", "converted"])
def test_tables_in_big_endian_are_read(twelve, way, tmp_path):
    table = Dataset()
    table.add_new(0x00283002, "US", [4096, 0, 12])
    table.add_new(0x00283006, "OW", np.arange(4096)[::-1].astype(">u2").tobytes())
    data = written(image(twelve, bits=12, VOILUTSequence=[table]), ExplicitVRBigEndian)
    by_file, by_set = images.decode(data), images.from_dataset(WAYS[way](data, tmp_path))
    np.testing.assert_allclose(by_file.pixels, 255 - twelve * (255 / 4095), atol=0.51)
    np.testing.assert_array_equal(by_set.pixels, by_file.pixels)


@pytest.mark.parametrize("syntax", [RLELossless, JPEG_2000])
def test_what_pydicom_compresses_is_read(twelve, syntax):
    ds = image(twelve, bits=12)
    expected = images.from_dataset(ds).pixels
    if syntax == RLELossless:
        ds.compress(syntax, encoding_plugin="pydicom")
    else:
        ds = dicom_files.compressed(ds, syntax)
    np.testing.assert_array_equal(images.from_dataset(ds, HERE).pixels, expected)
    ds = streamed(written(ds))
    ds.decompress()
    np.testing.assert_array_equal(images.from_dataset(ds).pixels, expected)


def test_fragments_may_end_with_their_delimiter_or_without(twelve):
    ds = dicom_files.compressed(image(twelve, bits=12), JPEG_2000)
    expected = images.from_dataset(ds, HERE).pixels
    ds.PixelData += b"\xfe\xff\xdd\xe0\0\0\0\0"
    np.testing.assert_array_equal(images.from_dataset(ds, HERE).pixels, expected)


def test_uncompressed_pixels_count_as_such_whatever_the_element_says(twelve):
    """A program that decompresses by itself replaces pixels and syntax, and leaves what the element was."""
    ds = streamed(written(dicom_files.compressed(image(twelve, bits=12), JPEG_2000)))
    assert ds["PixelData"].is_undefined_length
    ds.PixelData, ds.file_meta.TransferSyntaxUID = twelve.tobytes(), ExplicitVRLittleEndian
    np.testing.assert_array_equal(images.from_dataset(ds).pixels, images.from_dataset(image(twelve, bits=12)).pixels)


def test_pixels_keep_the_byte_order_they_were_read_in(twelve):
    """A program that sets another transfer syntax does not change pixels that pydicom has not converted yet."""
    expected = images.from_dataset(image(twelve, bits=12)).pixels
    for syntax, other in ((ExplicitVRBigEndian, ExplicitVRLittleEndian), (ExplicitVRLittleEndian, ExplicitVRBigEndian)):
        ds = streamed(written(image(twelve, bits=12), syntax))
        ds.file_meta.TransferSyntaxUID = other
        np.testing.assert_array_equal(images.from_dataset(ds).pixels, expected)


def without(*keywords: str):
    def change(ds: Dataset) -> None:
        for keyword in keywords:
            delattr(ds, keyword)

    return change


def with_values(**values: object):
    def change(ds: Dataset) -> None:
        for keyword, value in values.items():
            ds[keyword]._value = value  # as a program may leave it: pydicom checks only some

    return change


def closed_buffer() -> io.BytesIO:
    buffer = io.BytesIO(b"pixels")
    buffer.close()
    return buffer


CHANGES = {
    "no pixels": (without("PixelData"), "no_pixels"),
    "empty pixels": (with_values(PixelData=b""), "no_pixels"),
    "pixels of None": (with_values(PixelData=None), "no_pixels"),
    "an empty buffer": (with_values(PixelData=io.BytesIO()), "no_pixels"),
    "a closed buffer": (with_values(PixelData=closed_buffer()), "unreadable"),
    "an array of pixels": (with_values(PixelData=np.zeros((256, 256), np.uint16)), "invalid_header"),
    "pixels of text": (with_values(PixelData="pixels"), "invalid_header"),
    "a list of pixels": (with_values(PixelData=[1, 2, 3]), "invalid_header"),
    "half of the pixels": (with_values(PixelData=b"\1\2" * 30_000), "truncated"),
    "no rows": (without("Rows"), "invalid_header"),
    "rows of None": (with_values(Rows=None), "invalid_header"),
    "rows of text": (with_values(Rows="many"), "invalid_header"),
    "rows without end": (with_values(Rows=float("inf")), "invalid_header"),
    "half a row": (with_values(Rows=255.5), "invalid_header"),
    "rows of an object": (with_values(Rows=object()), "invalid_header"),
    "rows below 0": (with_values(Rows=-256), "too_small"),
    "a list of rows": (with_values(Rows=[256, 256]), "invalid_header"),
    "no bits": (without("BitsAllocated", "BitsStored", "HighBit"), "invalid_header"),
    "no class": (without("SOPClassUID"), "unsupported_object"),
    "no photometric interpretation": (without("PhotometricInterpretation"), "invalid_header"),
    "no file meta information": (without("file_meta"), "invalid_array"),
    "nothing": (lambda ds: ds.clear(), "no_pixels"),
    "fragments under an uncompressed syntax": (
        lambda ds: with_fragments(ds, ExplicitVRLittleEndian), "invalid_header"
    ),
    "uncompressed pixels under a compressed syntax": (
        lambda ds: setattr(ds.file_meta, "TransferSyntaxUID", JPEG_2000), "invalid_header"
    ),
    "a fragment without its end": (
        lambda ds: with_fragments(ds, JPEG_2000, cut=100), "truncated"
    ),
    "the head of a fragment": (lambda ds: with_fragments(ds, JPEG_2000, more=b"\xfe\xff\0"), "truncated"),
    "an unknown syntax": (lambda ds: setattr(ds.file_meta, "TransferSyntaxUID", "1.2.3"), "unsupported_format"),
    "an empty syntax": (lambda ds: setattr(ds.file_meta, "TransferSyntaxUID", ""), "invalid_array"),
    "an empty file meta information": (lambda ds: setattr(ds, "file_meta", FileMetaDataset()), "invalid_array"),
}  # fmt: skip


def with_fragments(ds: Dataset, syntax: str, *, cut: int = 0, more: bytes = b"") -> None:
    other = dicom_files.compressed(ds, JPEG_2000)
    ds["PixelData"] = other["PixelData"]
    ds.PixelData = ds.PixelData[: len(ds.PixelData) - cut] + more
    ds.file_meta.TransferSyntaxUID = syntax


@pytest.mark.parametrize("kind", CHANGES)
def test_a_data_set_that_cannot_be_read_is_a_failure_of_its_own(twelve, kind, model, image_path):
    change, code = CHANGES[kind]
    ds = image(twelve, bits=12)
    change(ds)
    before, failure, after = model.predict_batch([image_path, ds, image_path], tta=False)
    assert (before.ok, failure.ok, after.ok) == (True, False, True)
    assert failure.code == code, failure.message


def deferred(data: bytes, tmp_path) -> tuple[Dataset, str]:
    path = file(data, tmp_path)
    return pydicom.dcmread(path, defer_size=64), path


def test_a_file_that_vanished_or_changed_before_its_values_were_read_is_unreadable(twelve, tmp_path):
    data, other = written(image(twelve, bits=12)), written(image(twelve // 2, bits=12))
    ds, path = deferred(data, tmp_path)
    os.unlink(path)
    with pytest.raises(errors.Unreadable, match="read the data set without defer_size"):
        images.from_dataset(ds)
    ds, path = deferred(data, tmp_path)
    file(other, tmp_path)
    os.utime(path, (1, 1))
    with pytest.raises(errors.Unreadable, match="as it was read"):
        images.from_dataset(ds)
    with io.BytesIO(data) as stream:
        ds = pydicom.dcmread(stream, defer_size=64)
    with pytest.raises(errors.Unreadable, match="as it was read"):
        images.from_dataset(ds)


def test_a_deferred_look_up_table_is_not_taken_for_an_empty_one(twelve, tmp_path):
    data = encoded(twelve, ExplicitVRLittleEndian)
    ds, path = deferred(data, tmp_path)
    raw = ds.get_item("VOILUTSequence", keep_deferred=True)
    assert not isinstance(raw, RawDataElement) or raw.value is None
    assert "by the header's VOI LUT" in images.from_dataset(ds).warnings[0].message
    ds, path = deferred(data, tmp_path)
    ds.PixelData  # noqa: B018 - pydicom reads the pixels, and nothing else
    os.unlink(path)
    if isinstance(raw, RawDataElement):
        with pytest.raises(errors.Unreadable):
            images.from_dataset(ds)


def test_a_buffer_keeps_its_position_and_has_a_bound(twelve):
    ds = buffered(image(twelve, bits=12))
    first = images.from_dataset(ds).pixels
    assert ds["PixelData"].value.tell() == 6
    np.testing.assert_array_equal(images.from_dataset(ds).pixels, first)
    with pytest.raises(errors.TooLarge, match="raise max_file_bytes"):
        images.from_dataset(ds, InputLimits(max_file_bytes=1000))


def test_data_sets_of_a_generator_are_read_one_by_one(twelve, model):
    data = written(dicom_files.compressed(image(twelve, bits=12), JPEG_2000))
    results = list(model.predict_iter((streamed(data) for _ in range(3)), tta=False))
    assert [result.values for result in results] == [model.predict(data, tta=False).values] * 3
    assert isinstance(results[0], cxr_edge.Result)
