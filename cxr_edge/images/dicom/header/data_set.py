"""Take the encoded pixels out of a data set that pydicom has parsed, or that a program has made."""

import os
from io import BufferedIOBase
from typing import Any, Final

from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.fileutil import reset_buffer_position

from cxr_edge.errors import InvalidArray, InvalidHeader, NoPixels, TooLarge, Unreadable
from cxr_edge.images.dicom.header import syntaxes, tags
from cxr_edge.images.dicom.header.elements import Elements, identified
from cxr_edge.images.dicom.header.kinds import check_kind
from cxr_edge.images.dicom.header.parse import UNDEFINED, Encoded
from cxr_edge.images.limits import InputLimits

#: How a fragment begins: the tag of an item, little endian (PS3.5, A.4).
_ITEM: Final = b"\xfe\xff\x00\xe0"


def encoded_data_set(dataset: Dataset, limits: InputLimits) -> Encoded:
    """Return the image of a data set as it is encoded.

    The transfer syntax of its file meta information tells whether the pixels are compressed, as it does when pydicom
    writes the data set. A value of undefined length that consists of fragments is compressed in any case.

    Parameters
    ----------
    dataset : pydicom.Dataset
    limits : InputLimits

    Raises
    ------
    InvalidArray
        It has no transfer syntax.
    UnsupportedObject, NoPixels, InvalidHeader, TooLarge
    Unreadable
        The pixels are in a file or a buffer that cannot be read any more.
    """
    meta = getattr(dataset, "file_meta", None)
    syntax = Elements(meta).text(tags.TRANSFER_SYNTAX_UID) if isinstance(meta, Dataset) else ""
    if not syntax:
        raise InvalidArray("expected a data set whose file_meta has a TransferSyntaxUID, got none; set it")
    elements = Elements(dataset)
    with identified(elements):
        check_kind(elements)
        element = elements.element(tags.PIXEL_DATA)
        if element is None:
            raise NoPixels("expected a data set with Pixel Data, got none; read the file whole, with its pixels")
        pixels = _bytes_of(element.value, limits)
        if not pixels:
            raise NoPixels("expected pixels, got empty Pixel Data; keep the pixels of the data set")
        encapsulated = syntax not in syntaxes.NATIVE or (
            _is_of_undefined_length(element) and bytes(pixels[:4]) == _ITEM
        )
        if not encapsulated and isinstance(element, RawDataElement):
            syntax = _in_order(syntax, little=element.is_little_endian)
    return Encoded(elements, syntax, pixels, encapsulated, delimited=False, vr=element.VR)


def _in_order(syntax: str, *, little: bool) -> str:
    """Return an uncompressed transfer syntax in the byte order in which the pixels were read.

    A program that replaces the file meta information does not exchange the bytes of values that are still encoded.
    """
    if not little:
        return syntaxes.BIG_ENDIAN
    return syntaxes.EXPLICIT if syntax == syntaxes.BIG_ENDIAN else syntax


def _is_of_undefined_length(element: DataElement | RawDataElement) -> bool:
    if isinstance(element, RawDataElement):
        return element.length == UNDEFINED
    return element.is_undefined_length


def _bytes_of(value: Any, limits: InputLimits) -> memoryview:
    """Return the value of Pixel Data, which pydicom also keeps as a buffer, as bytes."""
    if value is None:
        return memoryview(b"")
    if isinstance(value, BufferedIOBase):
        return memoryview(_read(value, limits))
    if isinstance(value, bytes | bytearray):
        return memoryview(value)
    raise InvalidHeader(
        f"expected bytes or a buffered file object in Pixel Data, got {type(value).__name__}; set ds.PixelData to bytes"
    )


def _read(buffer: BufferedIOBase, limits: InputLimits) -> bytes:
    """Read a buffer from its position on, as pydicom writes it, and leave the position as it was."""
    try:
        with reset_buffer_position(buffer) as start:
            length = buffer.seek(0, os.SEEK_END) - start
            if length > limits.max_file_bytes:
                raise TooLarge(
                    f"expected at most {limits.max_file_bytes} bytes of pixels, got {length}; raise max_file_bytes if "
                    "the image is right"
                )
            buffer.seek(start)
            return buffer.read()
    except (OSError, ValueError) as error:
        raise Unreadable(
            f"expected a buffer of pixels that can be read and sought in, but it cannot ({type(error).__name__}); keep "
            "it open"
        ) from error
