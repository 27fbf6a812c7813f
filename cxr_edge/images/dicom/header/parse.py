"""Find the attributes and the pixel data in the bytes of a DICOM file, within limits.

Only the attributes that are needed later are kept, and the pixels are not copied. pydicom walks the
elements through `Metered`, so that a file with millions of elements or with endless sequences is
refused early.
"""

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from pydicom.filereader import read_dataset
from pydicom.tag import BaseTag
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian

from cxr_edge.errors import InputError, InvalidHeader, NoPixels, TooLarge, Truncated
from cxr_edge.images.dicom.header import kinds, tags
from cxr_edge.images.dicom.header.elements import Elements, identified
from cxr_edge.images.dicom.header.metered import Metered, guarded
from cxr_edge.images.limits import MEBIBYTE, InputLimits

#: Length of the preamble, and what follows it (PS3.10, 7.1).
PREAMBLE: Final = 128
PREFIX: Final = b"DICM"

#: Undefined length: the value ends at a delimiter (PS3.5, 7.1.1).
UNDEFINED: Final = 0xFFFFFFFF
#: Most bytes that a deflated data set may contain before its pixels.
_MOST_HEADER_BYTES: Final = 16 * MEBIBYTE

StopWhen = Callable[[BaseTag, str | None, int], bool]


@dataclass(frozen=True)
class Encoded:
    """A DICOM image as it is encoded.

    Attributes
    ----------
    elements : Elements
        Attributes of the header.
    syntax : str
        UID of the transfer syntax.
    pixels : memoryview
        The value of Pixel Data; for undefined length, up to the end of the file.
    encapsulated : bool
        The value is of undefined length: fragments of a codestream (PS3.5, A.4).
    delimited : bool
        A delimiter ends the fragments, as in a file; pydicom strips it from a data set's value.
    vr : str or None
        The value representation of Pixel Data; None where it is implicit.
    """

    elements: Elements
    syntax: str
    pixels: memoryview
    encapsulated: bool
    delimited: bool = True
    vr: str | None = None


def parse(data: bytes, limits: InputLimits, wanted: Sequence[int] = tags.WANTED_BY_RESULTS) -> Encoded:
    """Find the attributes and the pixels in the bytes of a file.

    Parameters
    ----------
    data : bytes
    limits : InputLimits
    wanted : sequence of int
        Tags of the attributes that are kept.

    Raises
    ------
    UnsupportedObject, InvalidHeader, NoPixels, TooLarge, Truncated
    """
    meta, at = _file_meta(data, limits)
    syntax = meta.text(tags.TRANSFER_SYNTAX_UID)
    if not syntax:
        raise InvalidHeader(
            "expected a Transfer Syntax UID in the file meta information, got none; export the image again"
        )
    deflated = _Deflated(data[at:]) if syntax == DeflatedExplicitVRLittleEndian else None
    if deflated is not None:
        data, at = deflated.inflate(_MOST_HEADER_BYTES), 0
    body = Metered(data, limits.max_header_elements)
    body.seek(at)
    implicit = not _looks_explicit(data, at)  # whatever the transfer syntax: some writers mix them up
    big = syntax == ExplicitVRBigEndian
    # The beginning alone, since the rest of an object without an image may exceed every limit.
    beginning = _walk(body, lambda tag, *_: tag > max(kinds.WANTED), kinds.WANTED, implicit=implicit, big=big)
    with identified(beginning):
        kinds.check_kind(beginning, meta.text(tags.MEDIA_STORAGE_SOP_CLASS_UID))
    body.seek(at)
    found: list[tuple[int, str | None, int]] = []

    def at_pixels(tag: BaseTag, vr: str | None, length: int) -> bool:
        if tag in tags.ANY_PIXELS:
            found.append((tag, vr, length))
        return tag in tags.ANY_PIXELS

    elements = _walk(body, at_pixels, wanted, implicit=implicit, big=big)
    with identified(elements):
        if not found:
            raise _no_pixels(deflated)
        tag, vr, length = found[0]
        if tag != tags.PIXEL_DATA:
            raise NoPixels("expected integer pixels, got floating-point ones; export the image as grey levels")
        start = body.tell() + (8 if implicit else 12)
        end = len(data) if length == UNDEFINED else start + length
        if deflated is not None and end > len(data):
            if length > 2 * limits.max_pixels:
                raise TooLarge(
                    f"expected at most {2 * limits.max_pixels} bytes of deflated pixels, got {length}; "
                    "raise max_pixels if the image is right"
                )
            data += deflated.inflate(end - len(data))
        if end > len(data):
            raise Truncated(
                f"expected {length} bytes of pixels, but the file ends after {len(data) - start}; copy it again"
            )
    return Encoded(elements, syntax, memoryview(data)[start:end], length == UNDEFINED, vr=vr)


def _no_pixels(deflated: "_Deflated | None") -> InputError:
    """Return the error for a header that ends before any pixels."""
    if deflated is not None and deflated.unread:
        return TooLarge(
            f"expected at most {_MOST_HEADER_BYTES // MEBIBYTE} MiB of attributes before deflated pixels, got more; "
            "export the image again"
        )
    if deflated is not None and not deflated.whole:
        return Truncated("the deflated data set ends early; copy the file again")
    return NoPixels(
        "expected pixels, but the file ends before any; if it should contain some, it is cut off: copy it again"
    )


def _file_meta(data: bytes, limits: InputLimits) -> tuple[Elements, int]:
    file = Metered(data, limits.max_header_elements)
    file.seek(PREAMBLE + len(PREFIX))
    meta = _walk(
        file,
        lambda tag, *_: tag >> 16 != tags.META_GROUP,
        (tags.TRANSFER_SYNTAX_UID, tags.MEDIA_STORAGE_SOP_CLASS_UID),
        implicit=not _looks_explicit(data, PREAMBLE + len(PREFIX)),
        big=False,
    )
    return meta, file.tell()


def _walk(file: Metered, stop: StopWhen, wanted: Sequence[int], *, implicit: bool, big: bool) -> Elements:
    return Elements(guarded(lambda: read_dataset(file, implicit, not big, stop_when=stop, specific_tags=[*wanted])))


def _looks_explicit(data: bytes, at: int) -> bool:
    """Return whether the first element has a VR: two capital letters where implicit ones have their length."""
    return all(0x41 <= byte <= 0x5A for byte in data[at + 4 : at + 6])


class _Deflated:
    """A deflated data set (PS3.5, A.5), inflated only as far as it is read."""

    def __init__(self, deflated: bytes) -> None:
        self._inflater = zlib.decompressobj(-zlib.MAX_WBITS)
        self._rest = deflated

    def inflate(self, most: int) -> bytes:
        """Return the next bytes, at most `most`.

        Raises
        ------
        Truncated
            The stream is damaged. One that ends early returns fewer bytes.
        """
        try:
            data = self._inflater.decompress(self._rest, most)
        except zlib.error as error:
            raise Truncated(f"the deflated data set is damaged ({error}); copy the file again") from error
        self._rest = self._inflater.unconsumed_tail
        return data

    @property
    def unread(self) -> bool:
        """Return whether part of the stream is not inflated yet."""
        return bool(self._rest)

    @property
    def whole(self) -> bool:
        """Return whether the end of the stream was reached."""
        return self._inflater.eof
