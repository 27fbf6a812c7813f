"""Decode the bytes of a PNG, JPEG or DICOM file to an 8-bit grey image, or refuse them with an error code.

Format and dimensions are read from the header and checked against the limits before a single
pixel is decoded. The header chooses the decoder; no second decoder is tried.
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
from cxr_edge.images import contents, exif, jpeg, png, result_mark
from cxr_edge.images.files import read_bytes
from cxr_edge.images.limits import DEFAULT_LIMITS, InputLimits
from cxr_edge.images.png import Levels
from cxr_edge.images.result_mark import RESULT
from cxr_edge.support.warnings import CodedWarning

if TYPE_CHECKING:
    from types import ModuleType

    from pydicom.dataset import Dataset

    from cxr_edge.images.dicom.display.presentation import Display
    from cxr_edge.images.dicom.header.elements import Elements
    from cxr_edge.images.dicom.header.stated import Stated
    from cxr_edge.images.dicom.read import GreyImage

#: Percentiles between which nearly all levels lie, and of every so many rows and columns they are taken.
_NEARLY_ALL: Final = (0.5, 99.5)
_STRIDE: Final = 4
#: An image whose brightest and darkest native levels are closer than this is blank.
BLANK_SPAN: Final = 4

#: EXIF orientation → function that turns the stored pixels upright (Exif 2.32, 4.6.4).
_TURNS: Final[dict[int, Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.uint8]]]] = {
    2: np.fliplr,
    3: lambda pixels: np.rot90(pixels, 2),
    4: np.flipud,
    5: np.transpose,
    6: lambda pixels: np.rot90(pixels, -1),
    7: lambda pixels: np.rot90(pixels, 2).T,
    8: np.rot90,
}
#: Offset and text of the prefix after a DICOM file's preamble (PS3.10, 7.1).
_DICOM_AT: Final = 128
_DICOM: Final = b"DICM"
#: The groups that a DICOM data set begins with, little endian (PS3.5, 7.1): meta information, and identification.
_FIRST_GROUPS: Final = (b"\x02\x00", b"\x08\x00")


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
        What a reader of the result must know about the decoding.
    display : Display or None
        For a DICOM image with one sample per pixel: how its stored values became grey levels.
    header : Elements or None
        For a DICOM image: the attributes needed to read it and to write results for it.
    """

    pixels: npt.NDArray[np.uint8]
    sha256: str | None
    warnings: tuple[CodedWarning, ...]
    display: "Display | None" = None
    header: "Elements | None" = None

    @property
    def stated(self) -> "Stated | None":
        """What the DICOM header states of patient and view; None for another image."""
        if self.header is None:
            return None
        from cxr_edge.images.dicom.header.stated import stated_by

        return stated_by(self.header)


def read_image(path: str | os.PathLike[str], limits: InputLimits = DEFAULT_LIMITS) -> DecodedImage:
    """Read and decode one file; `read_bytes` and `decode` list the errors."""
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
        Hash of `data`, if already known.

    Returns
    -------
    DecodedImage

    Raises
    ------
    InputError
        The subclass states the reason.
    """
    sha256 = sha256 or hashlib.sha256(data).hexdigest()
    if data.startswith(_DICOM, _DICOM_AT):
        return _decode_dicom(lambda dicom: dicom.read_file(data, limits), sha256)
    native, metadata, surplus = _native_levels(data, limits)
    pixels = _to_8_bit(native, 16)
    _check_not_blank(native, pixels)
    upright, unreadable_exif = _upright(pixels, metadata)
    return DecodedImage(upright, sha256, (*surplus, *_depth_warnings(native, 16), *unreadable_exif))


def is_png_or_jpeg(data: bytes) -> bool:
    """Return whether the bytes start with the signature of a PNG or JPEG file."""
    return data.startswith((png.SIGNATURE, jpeg.SIGNATURE))


def from_dataset(dataset: "Dataset", limits: InputLimits = DEFAULT_LIMITS) -> DecodedImage:
    """Decode a DICOM data set that pydicom has parsed, its pixel data still encoded as received.

    Raises
    ------
    InputError
        The subclass states the reason.
    """
    return _decode_dicom(lambda dicom: dicom.read_dataset(dataset, limits), None)


def from_array(
    array: npt.NDArray[np.uint8] | npt.NDArray[np.uint16], bits_stored: int = 16, limits: InputLimits = DEFAULT_LIMITS
) -> DecodedImage:
    """Take an array of pixels that are already decoded.

    Parameters
    ----------
    array : ndarray, (H, W) uint8 or uint16
        Grey levels; bone is bright.
    bits_stored : int
        For uint16, the number of bits in use, 8 to 16: levels run from 0 to
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


def _decode_dicom(read: "Callable[[ModuleType], GreyImage]", sha256: str | None) -> DecodedImage:
    """Decode DICOM with the packages of the extra ``dicom``."""
    try:
        from cxr_edge.images.dicom import read as dicom
    except ModuleNotFoundError as error:
        raise errors.MissingPackage.for_dicom(str(error.name).partition(".")[0]) from error
    image = read(dicom)
    _check_not_blank(image.levels, image.grey)
    return DecodedImage(image.grey, sha256, image.warnings, image.display, image.header)


def _native_levels(data: bytes, limits: InputLimits) -> tuple[Levels, bytes | None, tuple[CodedWarning, ...]]:
    """Decode to one channel at the file's own depth, not yet upright; also return EXIF data and warnings."""
    if not data:
        raise errors.EmptyFile("expected a PNG, JPEG or DICOM file, got zero bytes")
    if result_mark.is_marked(data):
        raise errors.UnsupportedObject(
            f"expected a radiograph, got a {RESULT}; use the image that it was made from", RESULT
        )
    if data.startswith(png.SIGNATURE):
        png_header = png.read_header(data)
        limits.check_size(png_header.width, png_header.height)
        return png.decode(data, png_header)
    if data.startswith(jpeg.SIGNATURE):
        jpeg_header = jpeg.read_header(data)
        limits.check_size(jpeg_header.width, jpeg_header.height)
        levels, warnings = jpeg.decode(data, jpeg_header, limits)
        return levels, jpeg_header.exif, warnings
    raise _refusal(data)


def _refusal(data: bytes) -> errors.InputError:
    if name := contents.image_format(data):
        return errors.UnsupportedFormat(f"expected PNG, JPEG or DICOM, got {name}; convert it to PNG first")
    if content := contents.other_content(data):
        return errors.NotAnImage(
            f"expected a PNG, JPEG or DICOM file, got another kind ({content}); "
            "name the image itself, or export it as one of them",
            content,
        )
    if data[:2] in _FIRST_GROUPS and all(0x41 <= byte <= 0x5A for byte in data[4:6]):
        return errors.NotAnImage(
            "expected a PNG, JPEG or DICOM file, got what looks like a DICOM data set without the header of a file "
            f"(128 bytes and {_DICOM.decode()}); export it as a file, or read it with pydicom and pass the data set"
        )
    return errors.NotAnImage(
        "expected a PNG, JPEG or DICOM file, got an unknown format; export the image as one of them"
    )


def _upright(
    pixels: npt.NDArray[np.uint8], metadata: bytes | None
) -> tuple[npt.NDArray[np.uint8], tuple[CodedWarning, ...]]:
    """Apply the EXIF orientation; warn where it cannot be read, instead of guessing."""
    if metadata is None:
        return pixels, ()
    try:
        orientation = exif.read_orientation(metadata)
    except ValueError as error:
        message = f"the EXIF data cannot be read ({error}): the image is used as stored; check that it is upright"
        return pixels, (CodedWarning("exif_unreadable", message),)
    if orientation in _TURNS:
        pixels = np.ascontiguousarray(_TURNS[orientation](pixels))
    return pixels, ()


def _check_not_blank(levels: Levels, pixels: npt.NDArray[np.uint8]) -> None:
    low, high = int(levels.min()), int(levels.max())
    if high - low < BLANK_SPAN or (levels is not pixels and pixels.min() == pixels.max()):
        raise errors.Blank(
            f"expected an image with contrast, got stored levels from {low} to {high}, decoded to grey levels from "
            f"{int(pixels.min())} to {int(pixels.max())}; check the exposure, the bits in use, and for DICOM window "
            "and shutter"
        )


def _depth_warnings(levels: Levels, bits_stored: int) -> tuple[CodedWarning, ...]:
    """Warn of levels that leave bits unused: a scanner of fewer bits stored them without scaling, or with an offset.

    Of 16 bits the highest level must use all. Of fewer, and where a marker or a hot pixel does, the span of nearly all
    levels decides: below an eighth of the range, an image is all but black or flat.
    """
    if levels.dtype == np.uint8:
        return ()
    bits = int(levels.max()).bit_length()
    if bits_stored == 16 and bits < 16:
        message = (
            f"the image uses only {bits} of its 16 bits, so it is dark after scaling by 255/65535; "
            f"store it over the full range, or pass it as an array with bits_stored={bits}"
        )
        return (CodedWarning("unused_bits", message),)
    low, high = np.percentile(levels[::_STRIDE, ::_STRIDE], _NEARLY_ALL)
    if high - low >= 2 ** (bits_stored - 3):
        return ()
    message = (
        f"nearly all levels lie between {low:.0f} and {high:.0f} of {2**bits_stored - 1}, so the image is dark or "
        "flat; scale them to the full range first, or name the bits in use"
    )
    return (CodedWarning("unused_bits", message),)


def _to_8_bit(levels: Levels, bits: int) -> npt.NDArray[np.uint8]:
    if levels.dtype == np.uint8:
        return np.ascontiguousarray(levels)
    return np.asarray(cv2.convertScaleAbs(levels, alpha=255 / (2**bits - 1)), dtype=np.uint8)
