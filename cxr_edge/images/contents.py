"""What a file is that is neither PNG, JPEG nor DICOM, by its first bytes.

It decides between a failure and a file that a run leaves out of a directory, and a wrong guess would lose a radiograph.
So a signature here is one that no image begins with by chance, which the short ones in general libraries are not, and
anything unknown may be an image.
"""

import codecs
import struct
from pathlib import PurePath
from typing import Final

Signatures = tuple[tuple[int, bytes, str], ...]

#: Numbers of the formats of Netpbm; a blank follows.
_NETPBM: Final = ((1, "PBM"), (2, "PGM"), (3, "PPM"), (4, "PBM"), (5, "PGM"), (6, "PPM"))
#: Formats of images that are not read: offset, signature, name.
_IMAGES: Final[Signatures] = (
    (0, b"GIF8", "GIF"),
    (0, b"II*\x00", "TIFF"),
    (0, b"MM\x00*", "TIFF"),
    (0, b"II+\x00", "BigTIFF"),
    (0, b"MM\x00+", "BigTIFF"),
    (8, b"WEBP", "WebP"),
    (4, b"ftypavif", "AVIF"),
    (4, b"ftypheic", "HEIC"),
    (4, b"ftypheix", "HEIC"),
    (4, b"ftypmif1", "HEIF"),
    (0, b"\x00\x00\x00\x0cjP  ", "JPEG 2000"),
    (0, b"\xff\x4f\xff\x51", "JPEG 2000"),
    (0, b"\x00\x00\x00\x0cJXL ", "JPEG XL"),
    (0, b"\xff\x0a", "JPEG XL"),
    (0, b"\x76\x2f\x31\x01", "OpenEXR"),
    (0, b"#?RADIANCE", "Radiance HDR"),
    (0, b"8BPS", "PSD"),
    (0, b"NRRD000", "NRRD"),
    (0, b"ObjectType = Image", "MetaImage"),
    (344, b"n+1\x00", "NIfTI"),
    (0, b"SIMPLE  =", "FITS"),
    *((0, b"P%d%c" % (kind, sign), name) for kind, name in _NETPBM for sign in b" \t\r\n"),
)  # fmt: skip
#: A BMP file: its signature, its size, and four reserved bytes that are zero.
_BMP: Final = b"BM"
_BMP_RESERVED: Final = slice(6, 10)

#: Formats that hold no image, or not as such. More exact ones come first.
_OTHERS: Final[Signatures] = (
    (30, b"[Content_Types].xml", "Office document"),
    (30, b"mimetypeapplication/", "Office document"),
    (0, b"PK\x03\x04", "ZIP archive"),
    (0, b"PK\x05\x06", "ZIP archive"),
    (0, b"PK\x07\x08", "ZIP archive"),
    (0, b"\x1f\x8b\x08", "gzip archive"),
    (4, b"1AY&SY", "bzip2 archive"),
    (0, b"\xfd7zXZ\x00", "xz archive"),
    (0, b"\x28\xb5\x2f\xfd", "Zstandard archive"),
    (0, b"\x04\x22\x4d\x18", "LZ4 archive"),
    (0, b"7z\xbc\xaf\x27\x1c", "7z archive"),
    (0, b"Rar!\x1a\x07", "RAR archive"),
    (0, b"MSCF\x00\x00\x00\x00", "Cabinet archive"),
    (257, b"ustar", "tar archive"),
    (0, b"!<arch>\n", "ar archive"),
    (0, b"\xed\xab\xee\xdb", "RPM package"),
    (0x8001, b"CD001", "ISO 9660 disc"),
    (0, b"SQLite format 3\x00", "SQLite database"),
    (0, b"\x37\x7f\x06\x82", "SQLite journal"),
    (0, b"\x37\x7f\x06\x83", "SQLite journal"),
    (0, b"\x18\xe2\x2d\x00", "SQLite index of a journal"),
    (0, b"\xd9\xd5\x05\xf9\x20\xa1\x63\xd7", "SQLite journal"),
    (0, b"\x89HDF\r\n\x1a\n", "HDF5 file"),
    (0, b"\x93NUMPY", "NumPy file"),
    (0, b"PAR1", "Parquet file"),
    (0, b"PGDMP", "PostgreSQL dump"),
    (4, b"Standard Jet DB", "Access database"),
    (4, b"Standard ACE DB", "Access database"),
    (0, b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "Thumbs.db or older Office document"),
    (0, b"CMMM", "cache of thumbnails"),
    (0, b"\x00\x00\x00\x01Bud1", ".DS_Store"),
    (0, b"\x4c\x00\x00\x00\x01\x14\x02\x00", "Windows shortcut"),
    (0, b"%PDF-", "PDF"),
    (0, b"\x7fELF", "program"),
    (0, b"\xcf\xfa\xed\xfe", "program"),
    (0, b"\xca\xfe\xba\xbe", "program"),
    (0, b"\x00asm", "program"),
    (4, b"ftyp", "video"),
    (8, b"AVI LIST", "video"),
    (0, b"\x1a\x45\xdf\xa3", "video"),
    (0, b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "video"),
    (0, b"\x00\x00\x01\xba", "video"),
    (8, b"WAVEfmt ", "sound"),
    (0, b"OggS\x00", "sound"),
    (0, b"fLaC\x00", "sound"),
    (0, b"ID3", "sound"),
    (0, b"wOFF", "font"),
    (0, b"wOF2", "font"),
)
#: A program for Windows: its signature, and where the offset of the second one is.
_DOS: Final = b"MZ"
_PE_OFFSET: Final = 0x3C
_PE: Final = b"PE\x00\x00"

#: Bytes that are looked at to recognise text.
_SAMPLE: Final = 8192
#: Text in any encoding has only these control characters: HT, LF, VT, FF, CR, ESC.
_CONTROLS: Final = bytes(set(range(0x20)) - {0x09, 0x0A, 0x0B, 0x0C, 0x0D, 0x1B}) + b"\x7f"
#: Encodings that a mark at the beginning declares; that of UTF-32 begins with that of UTF-16.
_MARKS: Final = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)

#: Suffixes of files that someone means to be images.
_IMAGE_SUFFIXES: Final = frozenset({
    ".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".dcm", ".dicom", ".dic", ".ima", ".tif", ".tiff", ".bmp", ".gif",
    ".webp", ".heic", ".avif", ".jp2", ".j2k", ".jpx", ".jxl", ".pgm",
})  # fmt: skip
#: Suffixes that compression adds.
_COMPRESSED: Final = frozenset({".gz", ".bz2", ".xz", ".zst", ".lz4", ".zip"})


def image_format(data: bytes) -> str | None:
    """Return the name of the image format that is not read; None if the bytes are of no known one."""
    if data.startswith(_BMP) and data[_BMP_RESERVED] == bytes(4):
        return "BMP"
    return _named(data, _IMAGES)


def other_content(data: bytes) -> str | None:
    """Return what the bytes plainly are instead of an image, such as ``ZIP archive`` or ``text``; None if unknown."""
    if image_format(data):  # some are written as text
        return None
    if name := _named(data, _OTHERS):
        return name
    if data.startswith(_DOS) and len(data) >= _PE_OFFSET + 4:
        (at,) = struct.unpack_from("<I", data, _PE_OFFSET)
        if data.startswith(_PE, at):
            return "program"
    return "text" if _is_text(data[:_SAMPLE]) else None


def is_named_as_image(path: str) -> bool:
    """Return whether a file's suffix says that it is an image, also below one that compression added."""
    suffixes = [suffix.lower() for suffix in PurePath(path).suffixes]
    if suffixes and suffixes[-1] in _COMPRESSED:
        suffixes.pop()
    return bool(suffixes) and suffixes[-1] in _IMAGE_SUFFIXES


def _named(data: bytes, signatures: Signatures) -> str | None:
    return next((name for offset, magic, name in signatures if data.startswith(magic, offset)), None)


def _is_text(sample: bytes) -> bool:
    """Return whether bytes are text: UTF-8, UTF-16 or UTF-32 with a mark, or mostly ASCII in another encoding."""
    for mark, encoding in _MARKS:
        if sample.startswith(mark):
            return _decodes(sample, encoding)
    if sample.translate(None, _CONTROLS) != sample:
        return False
    ascii_bytes = sum(byte < 0x80 for byte in sample)
    return _decodes(sample, "utf-8") or 4 * ascii_bytes >= 3 * len(sample)


def _decodes(sample: bytes, encoding: str) -> bool:
    """Return whether bytes, whose last character may be cut off, are text of an encoding without control characters."""
    try:
        text = codecs.getincrementaldecoder(encoding)().decode(sample)
    except UnicodeDecodeError:
        return False
    return not any(ord(sign) in _CONTROLS for sign in text if ord(sign) < 0x80)
