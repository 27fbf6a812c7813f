"""What is plainly no image is named as what it is; what may be an image never is."""

import bz2
import gzip
import io
import lzma
import sqlite3
import tarfile
import zipfile

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.dicom import dicom_files
from cxr_edge import errors, images
from cxr_edge.images.contents import is_named_as_image, other_content
from tests.conftest import SAMPLES


def zipped(name: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(name, "x")
    return buffer.getvalue()


def tarred(mode: str) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:
        archive.addfile(tarfile.TarInfo("x"), io.BytesIO())
    return buffer.getvalue()


def database() -> bytes:
    connection = sqlite3.connect(":memory:")
    connection.execute("create table images (name)")
    return connection.serialize() if hasattr(connection, "serialize") else b"SQLite format 3\0" + bytes(4080)


TEXTS = {
    "English": b"Read me first.\r\n",
    "UTF-8": "Größe: 日本".encode(),
    "UTF-8 with a mark": "\ufeffGröße".encode(),
    "UTF-8, cut within a letter": ("x" * 8191 + "ö").encode(),
    "Western": "Größe der Aufnahme, übernommen für Ärzte".encode("cp1252"),
    "UTF-16 of Windows": "[.ShellClassInfo]".encode("utf-16"),
    "JSON": b'{"a": 1}',
    "CSV": b"path,label\n1.png,Mass\n",
    "HTML": b"<!DOCTYPE html>\n<title>x</title>",
    "begins like a BMP": b"BMI values of the patients",
    "begins like a PGM": b"P2P network",
    "a terminal's colours": b"\x1b[31mred\x1b[0m",
    "one letter": b"x",
}


@pytest.mark.parametrize("data", TEXTS.values(), ids=TEXTS.keys())
def test_text_in_any_encoding_is_text(data):
    assert other_content(data) == "text"
    with pytest.raises(errors.NotAnImage, match=r"got another kind \(text\)") as raised:
        images.decode(data)
    assert raised.value.content == "text"


@pytest.mark.parametrize(
    ("data", "content"),
    [
        (zipped("x"), "ZIP archive"),
        (b"PK\x05\x06" + bytes(18), "ZIP archive"),
        (zipped("[Content_Types].xml"), "Office document"),
        (tarred("w:"), "tar archive"),
        (tarred("w:gz"), "gzip archive"),
        (gzip.compress(b"x"), "gzip archive"),
        (bz2.compress(b"x"), "bzip2 archive"),
        (lzma.compress(b"x"), "xz archive"),
        (b"7z\xbc\xaf\x27\x1c\0\4" + bytes(24), "7z archive"),
        (bytes(0x8001) + b"CD001\1\0", "ISO 9660 disc"),
        (database(), "SQLite database"),
        (b"\0\1\0\0Standard Jet DB\0", "Access database"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(504), "Thumbs.db or older Office document"),
        (b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n", "PDF"),
        (b"MZ" + bytes(58) + b"\x80\0\0\0" + bytes(64) + b"PE\0\0", "program"),
        (b"\x7fELF\2\1\1\0", "program"),
        (b"\0\0\0\x18ftypmp42", "video"),
        (b"RIFF\0\0\1\0AVI LIST", "video"),
    ],
    ids=lambda value: value if isinstance(value, str) else "data",  # bytes that hold the time differ between processes
)
def test_other_kinds_are_named(data, content):
    with pytest.raises(errors.NotAnImage) as raised:
        images.decode(data)
    assert raised.value.content == content
    assert f"({content})" in str(raised.value)


@pytest.mark.parametrize("suffix", [".tif", ".bmp", ".webp", ".jp2", ".pgm", ".ppm", ".hdr"])
def test_an_image_of_a_format_that_is_not_read_may_be_a_radiograph(suffix, image):
    pixels = cv2.cvtColor(image, cv2.COLOR_GRAY2BGR) if suffix in (".ppm", ".hdr") else image
    encoded = cv2.imencode(suffix, pixels.astype(np.float32) if suffix == ".hdr" else pixels)[1].tobytes()
    with pytest.raises(errors.UnsupportedFormat, match="convert it to PNG") as raised:
        images.decode(encoded)
    assert raised.value.content == ""


@pytest.mark.parametrize("damage", [b"", b"\0\0\0\0", b"\xff\xff\xff\xff", b"????", b"\r\n\r\n"])
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "DICOM"])
def test_a_damaged_image_is_never_taken_for_something_else(kind, damage, image):
    """The beginning is lost or overwritten; the rest is there."""
    data = {
        "PNG": SAMPLES[0].read_bytes(),
        "JPEG": cv2.imencode(".jpg", image)[1].tobytes(),
        "DICOM": dicom_files.written(dicom_files.image(image))[128:],
    }[kind]
    with pytest.raises(errors.InputError) as raised:
        images.decode(damage + data[4:])
    assert raised.value.content == ""


@given(st.binary(max_size=300), st.sampled_from([0, 1, 2, 8, 0x7F]))
def test_bytes_with_control_characters_are_not_text(data, control):
    assert other_content(b"%c" % control + data) != "text" or control == 0


@pytest.mark.parametrize(
    ("path", "named"),
    [
        ("a.png", True), ("A.JPG", True), ("x/1.2.840.dcm", True), ("scan.tif", True), ("scan.dcm.gz", True),
        ("a.png.json", False), ("README", False), ("a.txt", False), ("x.png/README", False), ("a.tar.gz", False),
        (".gz", False), ("IM000001", False),
    ],
)  # fmt: skip
def test_a_suffix_says_whether_a_file_is_meant_as_an_image(path, named):
    assert is_named_as_image(path) is named
