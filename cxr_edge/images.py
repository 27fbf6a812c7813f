"""Decoding: bytes of a PNG or JPEG file to an 8-bit grey film, or a refusal with a code.

Format and dimensions are read from the header, and held against the bounds, before a single
pixel is decoded. Pillow decodes; its plug-ins for PNG and JPEG are named explicitly, so that
no other parser ever sees untrusted bytes.
"""

import hashlib
import os
import stat
from dataclasses import dataclass
from io import BytesIO
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, JpegImagePlugin, PngImagePlugin

from cxr_edge import errors
from cxr_edge.inputs import printable_path

MAX_SIDE: Final = 20_000
MAX_PIXELS: Final = 100_000_000
MIN_SIDE: Final = 64
MAX_FILE_BYTES: Final = 512 * 2**20

#: A film whose brightest and darkest native level are closer than this shows nothing.
BLANK_SPAN: Final = 4
#: A 16-bit file whose levels all fit in this many bits is likely a film stored without scaling.
EXPECTED_BITS: Final = 12

_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG = b"\xff\xd8\xff"
_OTHER_FORMATS: Final[tuple[tuple[int, bytes, str], ...]] = (
    (128, b"DICM", "DICOM"),
    (0, b"GIF8", "GIF"),
    (0, b"BM", "BMP"),
    (0, b"II*\x00", "TIFF"),
    (0, b"MM\x00*", "TIFF"),
    (0, b"II+\x00", "BigTIFF"),
    (0, b"MM\x00+", "BigTIFF"),
    (8, b"WEBP", "WebP"),
    (4, b"ftypavif", "AVIF"),
    (4, b"ftypheic", "HEIC"),
    (0, b"\x00\x00\x00\x0cjP  ", "JPEG 2000"),
    (0, b"\xff\x4f\xff\x51", "JPEG 2000"),
    (0, b"\x00\x00\x00\x0cJXL ", "JPEG XL"),
    (0, b"\xff\x0a", "JPEG XL"),
    (0, b"\x76\x2f\x31\x01", "OpenEXR"),
    (0, b"#?RADIANCE", "Radiance HDR"),
    (0, b"8BPS", "PSD"),
    (0, b"P2", "PGM"),
    (0, b"P5", "PGM"),
    (0, b"P6", "PPM"),
)


@dataclass(frozen=True)
class Film:
    """A decoded radiograph.

    Attributes
    ----------
    pixels : ndarray, (H, W) uint8
        Grey levels, upright (EXIF orientation applied).
    sha256 : str or None
        Hash of the file's bytes; None for an array.
    warnings : tuple of str
        What a reader of the result must know about the way it was decoded.
    """

    pixels: npt.NDArray[np.uint8]
    sha256: str | None
    warnings: tuple[str, ...]


def read_bytes(path: str | os.PathLike[str]) -> bytes:
    """Read a regular file of bounded size.

    Raises
    ------
    NonUtf8Name, NotFound, NotAFile, PermissionDenied, Unreadable, EmptyFile, TooLarge
    """
    name = os.fspath(path)
    if printable_path(name) != name:
        raise errors.NonUtf8Name(f"the file name {printable_path(name)!r} is not valid UTF-8; rename the file")
    try:
        # Non-blocking, so that a pipe with no writer cannot hang the run before it is refused.
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
        with os.fdopen(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise errors.NotAFile("expected a regular file, got a pipe, device or socket; copy it to a file")
            data = file.read(MAX_FILE_BYTES + 1)
    except FileNotFoundError as error:
        raise errors.NotFound("nothing exists at this path; check its spelling") from error
    except PermissionError as error:
        raise errors.PermissionDenied("the file cannot be opened; give this user permission to read it") from error
    except IsADirectoryError as error:
        raise errors.NotAFile("expected a file, got a directory") from error
    except OSError as error:
        raise errors.Unreadable(f"reading failed ({error.strerror}); check the disk or the connection") from error
    if not data:
        raise errors.EmptyFile("the file has zero bytes; copy it again from its source")
    if len(data) > MAX_FILE_BYTES:
        raise errors.TooLarge(f"the file exceeds {MAX_FILE_BYTES // 2**20} MiB, the most that is read")
    return data


def read_film(path: str | os.PathLike[str]) -> Film:
    """Read and decode one file; see `read_bytes` and `decode` for what can be raised."""
    return decode(read_bytes(path))


def decode(data: bytes) -> Film:
    """Decode the bytes of a PNG or JPEG file.

    Colour is reduced to luma (ITU-R BT.601), transparency is ignored, 16-bit levels are scaled
    by 255/65535, and the EXIF orientation is applied.

    Parameters
    ----------
    data : bytes

    Returns
    -------
    Film

    Raises
    ------
    EmptyFile, NotAnImage, UnsupportedFormat, Truncated, TooLarge, TooSmall, Blank
    """
    image = _open(data)
    _check_size(image.width, image.height)
    native = _native_levels(image)
    _check_not_blank(native)
    return Film(_to_8_bit(native, 16), hashlib.sha256(data).hexdigest(), _warnings(native, 16))


def from_array(array: npt.NDArray[np.uint8] | npt.NDArray[np.uint16], bits_stored: int = 16) -> Film:
    """Take pixels that are already decoded.

    Parameters
    ----------
    array : ndarray, (H, W) uint8 or uint16
        Grey levels, bright bone.
    bits_stored : int
        For uint16, the number of bits that carry the picture, 8 to 16: levels run from 0 to
        ``2**bits_stored - 1``. Ignored for uint8.

    Raises
    ------
    InvalidArray, TooLarge, TooSmall, Blank
    """
    if array.ndim != 2 or array.dtype not in (np.uint8, np.uint16):
        raise errors.InvalidArray(
            f"expected a (H, W) array of uint8 or uint16, got shape {array.shape} of {array.dtype}; "
            "convert it to grey and to integer levels first"
        )
    if not 8 <= bits_stored <= 16:
        raise errors.InvalidArray(f"expected bits_stored from 8 to 16, got {bits_stored}")
    _check_size(array.shape[1], array.shape[0])
    if array.dtype == np.uint16 and int(array.max()) >= 2**bits_stored:
        raise errors.InvalidArray(
            f"expected levels below {2**bits_stored} (bits_stored={bits_stored}), got {int(array.max())}; "
            "pass the bits_stored that the levels need"
        )
    _check_not_blank(array)
    return Film(_to_8_bit(array, bits_stored), None, _warnings(array, bits_stored))


def _open(data: bytes) -> Image.Image:
    if not data:
        raise errors.EmptyFile("expected a PNG or JPEG file, got zero bytes")
    plugin: type[PngImagePlugin.PngImageFile | JpegImagePlugin.JpegImageFile]
    if data.startswith(_PNG):
        plugin = PngImagePlugin.PngImageFile
    elif data.startswith(_JPEG):
        plugin = JpegImagePlugin.JpegImageFile
    else:
        raise _refusal(data)
    try:
        return plugin(BytesIO(data))
    except SyntaxError as error:
        if "cannot handle" in str(error):  # Pillow's words for a depth or number of channels it does not decode
            raise errors.UnsupportedFormat(
                f"expected an 8-bit JPEG of 1, 3 or 4 channels, Pillow {error}; convert it to PNG first"
            ) from error
        raise _truncated_header(plugin.format, error) from error
    except (OSError, ValueError, IndexError) as error:
        raise _truncated_header(plugin.format, error) from error


def _truncated_header(name: str | None, error: Exception) -> errors.Truncated:
    return errors.Truncated(f"the {name} header is damaged or cut off ({error}); copy it again")


def _refusal(data: bytes) -> errors.InputError:
    for offset, magic, name in _OTHER_FORMATS:
        if data.startswith(magic, offset):
            return errors.UnsupportedFormat(f"expected PNG or JPEG, got {name}; convert it to PNG first")
    return errors.NotAnImage("expected a PNG or JPEG file; its first bytes are those of no image format known here")


def _check_size(width: int, height: int) -> None:
    if max(width, height) > MAX_SIDE or width * height > MAX_PIXELS:
        raise errors.TooLarge(
            f"expected sides up to {MAX_SIDE} and at most {MAX_PIXELS // 10**6} megapixels, got {width}x{height}"
        )
    if min(width, height) < MIN_SIDE:
        raise errors.TooSmall(f"expected sides of at least {MIN_SIDE} pixels, got {width}x{height}")


def _native_levels(image: Image.Image) -> npt.NDArray[np.uint8] | npt.NDArray[np.uint16]:
    """Decode to one channel at the file's own depth, upright."""
    try:
        image.load()
        upright = ImageOps.exif_transpose(image)
    except (SyntaxError, OSError, ValueError, IndexError, EOFError) as error:
        raise errors.Truncated(f"the {image.format} data is damaged or cut off ({error}); copy it again") from error
    if upright.mode.startswith("I"):
        return np.asarray(upright).astype(np.uint16)
    return np.asarray(upright.convert("L"))


def _check_not_blank(levels: npt.NDArray[np.uint8] | npt.NDArray[np.uint16]) -> None:
    low, high = int(levels.min()), int(levels.max())
    if high - low < BLANK_SPAN:
        raise errors.Blank(f"expected a picture, got levels from {low} to {high} only; check the exposure")


def _warnings(levels: npt.NDArray[np.uint8] | npt.NDArray[np.uint16], bits_stored: int) -> tuple[str, ...]:
    bits = int(levels.max()).bit_length()
    if levels.dtype == np.uint8 or bits_stored < 16 or bits > EXPECTED_BITS:
        return ()
    return (
        f"the film uses only {bits} of its 16 bits: scaled by 255/65535 it looks dark to the model; "
        f"store it over the full range, or pass it as an array with bits_stored={bits}",
    )


def _to_8_bit(levels: npt.NDArray[np.uint8] | npt.NDArray[np.uint16], bits: int) -> npt.NDArray[np.uint8]:
    if levels.dtype == np.uint8:
        return np.ascontiguousarray(levels)
    return np.asarray(cv2.convertScaleAbs(levels, alpha=255 / (2**bits - 1)), dtype=np.uint8)
