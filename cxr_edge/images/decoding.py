"""Decoding: bytes of a PNG, JPEG or DICOM file to an 8-bit grey image, or a refusal with a code.

Format and dimensions are read from the header, and held against the bounds, before a single
pixel is decoded. What the header says chooses the decoder; there is no second try with another.
"""

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import cv2
import numpy as np
import numpy.typing as npt

from cxr_edge import errors
from cxr_edge.images import exif, jpeg, png
from cxr_edge.images.files import read_bytes
from cxr_edge.images.limits import DEFAULT_LIMITS, InputLimits
from cxr_edge.images.png import Levels
from cxr_edge.support.warnings import CodedWarning

if TYPE_CHECKING:
    from types import ModuleType

    from pydicom.dataset import Dataset

    from cxr_edge.images.dicom.elements import Elements
    from cxr_edge.images.dicom.presentation import Display
    from cxr_edge.images.dicom.read import Shown

#: An image whose brightest and darkest native level are closer than this shows nothing.
BLANK_SPAN: Final = 4
#: A 16-bit file whose levels all fit in this many bits is likely an image stored without scaling.
EXPECTED_BITS: Final = 12

#: EXIF orientation → how to turn the stored pixels upright (Exif 2.32, 4.6.4).
_TURNS: Final[dict[int, Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.uint8]]]] = {
    2: np.fliplr,
    3: lambda pixels: np.rot90(pixels, 2),
    4: np.flipud,
    5: np.transpose,
    6: lambda pixels: np.rot90(pixels, -1),
    7: lambda pixels: np.rot90(pixels, 2).T,
    8: np.rot90,
}
#: What stands after a DICOM file's preamble (PS3.10, 7.1).
_DICOM_AT: Final = 128
_DICOM: Final = b"DICM"
_OTHER_FORMATS: Final[tuple[tuple[int, bytes, str], ...]] = (
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
class DecodedImage:
    """A decoded radiograph.

    Attributes
    ----------
    pixels : ndarray, (H, W) uint8
        Grey levels, upright (EXIF orientation applied).
    sha256 : str or None
        Hash of the file's bytes; None for an array.
    warnings : tuple of CodedWarning
        What a reader of the result must know about the way it was decoded.
    display : Display or None
        Of a DICOM image of one sample a pixel: how its stored values became grey.
    header : Elements or None
        Of a DICOM image: the attributes that reading it and writing results for it need.
    """

    pixels: npt.NDArray[np.uint8]
    sha256: str | None
    warnings: tuple[CodedWarning, ...]
    display: "Display | None" = None
    header: "Elements | None" = None


def read_image(path: str | os.PathLike[str], limits: InputLimits = DEFAULT_LIMITS) -> DecodedImage:
    """Read and decode one file; see `read_bytes` and `decode` for what can be raised."""
    return decode(read_bytes(path, limits.max_file_bytes), limits)


def decode(data: bytes, limits: InputLimits = DEFAULT_LIMITS, sha256: str | None = None) -> DecodedImage:
    """Decode the bytes of a PNG, JPEG or DICOM file.

    PNG and JPEG: colour is reduced to luma (ITU-R BT.601), transparency is ignored, 16-bit levels
    are scaled by 255/65535, and the EXIF orientation is applied. DICOM: see `cxr_edge.images.dicom`.

    Parameters
    ----------
    data : bytes
    limits : InputLimits
    sha256 : str, optional
        Hash of `data`, where it is known already.

    Returns
    -------
    DecodedImage

    Raises
    ------
    InputError
        The subclass says why.
    """
    sha256 = sha256 or hashlib.sha256(data).hexdigest()
    if data.startswith(_DICOM, _DICOM_AT):
        return _shown(lambda dicom: dicom.read_file(data, limits), sha256)
    native, metadata = _native_levels(data, limits)
    pixels = _to_8_bit(native, 16)
    _check_not_blank(native, pixels)
    upright, unreadable_exif = _upright(pixels, metadata)
    return DecodedImage(upright, sha256, _depth_warnings(native, 16) + unreadable_exif)


def is_picture(data: bytes) -> bool:
    """Tell whether the bytes begin as those of a PNG or JPEG file do."""
    return data.startswith((png.SIGNATURE, jpeg.SIGNATURE))


def from_dataset(dataset: "Dataset", limits: InputLimits = DEFAULT_LIMITS) -> DecodedImage:
    """Take a DICOM data set that pydicom has parsed, its pixels encoded as they came.

    Raises
    ------
    InputError
        The subclass says why.
    """
    return _shown(lambda dicom: dicom.read_dataset(dataset, limits), None)


def from_array(
    array: npt.NDArray[np.uint8] | npt.NDArray[np.uint16], bits_stored: int = 16, limits: InputLimits = DEFAULT_LIMITS
) -> DecodedImage:
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
    if bits_stored not in range(8, 17):
        raise errors.InvalidArray(f"expected bits_stored from 8 to 16, got {bits_stored!r}")
    limits.check_size(array.shape[1], array.shape[0])
    if array.dtype == np.uint16 and int(array.max()) >= 2**bits_stored:
        raise errors.InvalidArray(
            f"expected levels below {2**bits_stored} (bits_stored={bits_stored}), got {int(array.max())}; "
            "pass the bits_stored that the levels need"
        )
    pixels = _to_8_bit(array, bits_stored)
    _check_not_blank(array, pixels)
    return DecodedImage(pixels, None, _depth_warnings(array, bits_stored))


def _shown(read: "Callable[[ModuleType], Shown]", sha256: str | None) -> DecodedImage:
    """Read DICOM with the packages of the extra ``dicom``."""
    try:
        from cxr_edge.images.dicom import read as dicom
    except ModuleNotFoundError as error:
        raise errors.MissingPackage.for_dicom(str(error.name).partition(".")[0]) from error
    shown = read(dicom)
    _check_not_blank(shown.levels, shown.grey)
    return DecodedImage(shown.grey, sha256, shown.warnings, shown.display, shown.header)


def _native_levels(data: bytes, limits: InputLimits) -> tuple[Levels, bytes | None]:
    """Decode to one channel at the file's own depth, not yet upright, with the file's EXIF data."""
    if not data:
        raise errors.EmptyFile("expected a PNG, JPEG or DICOM file, got zero bytes")
    if data.startswith(png.SIGNATURE):
        of_png = png.read_header(data)
        limits.check_size(of_png.width, of_png.height)
        return png.decode(data, of_png)
    if data.startswith(jpeg.SIGNATURE):
        of_jpeg = jpeg.read_header(data)
        limits.check_size(of_jpeg.width, of_jpeg.height)
        return jpeg.decode(data, of_jpeg), of_jpeg.exif
    raise _refusal(data)


def _refusal(data: bytes) -> errors.InputError:
    for offset, magic, name in _OTHER_FORMATS:
        if data.startswith(magic, offset):
            return errors.UnsupportedFormat(f"expected PNG, JPEG or DICOM, got {name}; convert it to PNG first")
    return errors.NotAnImage(
        "expected a PNG, JPEG or DICOM file; its first bytes are those of no image format known here"
    )


def _upright(
    pixels: npt.NDArray[np.uint8], metadata: bytes | None
) -> tuple[npt.NDArray[np.uint8], tuple[CodedWarning, ...]]:
    """Apply the EXIF orientation; one that cannot be read is told, not guessed."""
    if metadata is None:
        return pixels, ()
    try:
        orientation = exif.read_orientation(metadata)
    except ValueError as error:
        message = f"the EXIF data cannot be read ({error}): the image is shown as it is stored"
        return pixels, (CodedWarning("exif_unreadable", message),)
    if orientation in _TURNS:
        pixels = np.ascontiguousarray(_TURNS[orientation](pixels))
    return pixels, ()


def _check_not_blank(levels: Levels, pixels: npt.NDArray[np.uint8]) -> None:
    low, high = int(levels.min()), int(levels.max())
    if high - low < BLANK_SPAN or (levels is not pixels and pixels.min() == pixels.max()):
        raise errors.Blank(f"expected a picture, got levels from {low} to {high} only; check the exposure")


def _depth_warnings(levels: Levels, bits_stored: int) -> tuple[CodedWarning, ...]:
    if levels.dtype == np.uint8 or bits_stored < 16:
        return ()
    bits = int(levels.max()).bit_length()
    if bits > EXPECTED_BITS:
        return ()
    message = (
        f"the image uses only {bits} of its 16 bits: scaled by 255/65535 it looks dark to the model; "
        f"store it over the full range, or pass it as an array with bits_stored={bits}"
    )
    return (CodedWarning("unused_bits", message),)


def _to_8_bit(levels: Levels, bits: int) -> npt.NDArray[np.uint8]:
    if levels.dtype == np.uint8:
        return np.ascontiguousarray(levels)
    return np.asarray(cv2.convertScaleAbs(levels, alpha=255 / (2**bits - 1)), dtype=np.uint8)
