"""Read the attributes of a data set from their encoded bytes.

pydicom finds the elements, but does not convert their values: its conversions quote odd values in
warnings, and an odd value may be a patient's.
"""

import hashlib
import struct
from collections.abc import Iterator, Sequence, Sized
from contextlib import contextmanager
from typing import Any, Final

from pydicom.datadict import dictionary_VR
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.filereader import read_sequence

from cxr_edge.errors import InputError, InvalidHeader
from cxr_edge.images.dicom.header import tags
from cxr_edge.images.dicom.header.deferred import read_deferred
from cxr_edge.images.dicom.header.metered import Metered, guarded
from cxr_edge.images.limits import DEFAULT_LIMITS

#: Digits of a hashed UID in a message: enough to find the image, without a value of the patient.
HASH_DIGITS: Final = 12
_MAX_ELEMENTS: Final = DEFAULT_LIMITS.max_header_elements
#: Most 16-bit numbers of an attribute: the entries of a look-up table (PS3.3, C.11.1.1).
_MAX_WORDS: Final = 65_536
#: Most characters of numbers as text: what Explicit VR can hold (PS3.5, 7.1.2).
_MAX_TEXT: Final = 65_534


class Elements:
    """Typed access to the attributes of one data set.

    Parameters
    ----------
    dataset : pydicom.Dataset
        As read from a file, or as made by a caller.
    """

    def __init__(self, dataset: Dataset) -> None:
        self._dataset = dataset

    def text(self, tag: int) -> str:
        """Return a string attribute, its values separated by backslashes; empty if absent."""
        value = self._value(tag)
        if value is None:
            return ""
        if isinstance(value, bytes):
            return value.decode("ascii", "replace").strip(" \0")
        if isinstance(value, str) or not isinstance(value, Sequence):
            return str(value).strip(" \0")
        return "\\".join(map(str, value))

    def encoded(self, tag: int) -> tuple[str, bytes] | None:
        """Return an attribute as the file encodes it: its VR and its bytes; None if the file has none."""
        element = self.element(tag)
        if not isinstance(element, RawDataElement):
            return None
        vr = element.VR or dictionary_VR(tags.CHARACTER_SET if tag == tags.HIDDEN_CHARACTER_SET else tag)
        return vr, element.value or b""

    def has(self, tag: int) -> bool:
        """Return whether an attribute is there and has a value."""
        value = self._value(tag)
        return value is not None and (not isinstance(value, Sized) or len(value) > 0)

    def decimals(self, tag: int) -> tuple[float, ...]:
        """Return the numbers of a DS or IS attribute; empty if absent.

        Raises
        ------
        InvalidHeader
        """
        return self._numbers(tag, self.text(tag))

    def first_decimal(self, tag: int) -> float | None:
        """Return the first number of a DS or IS attribute; None if absent.

        Raises
        ------
        InvalidHeader
        """
        return next(iter(self._numbers(tag, self.text(tag).partition("\\")[0])), None)

    def _numbers(self, tag: int, text: str) -> tuple[float, ...]:
        if len(text) > _MAX_TEXT:
            raise InvalidHeader(
                f"expected at most {_MAX_TEXT} characters in {name_of(tag)}, got {len(text)}; export the image again"
            )
        try:
            return tuple(float(part) for part in text.split("\\")) if text else ()
        except ValueError as error:
            raise InvalidHeader(
                f"expected decimal numbers in {name_of(tag)}, got other text; export the image again"
            ) from error

    def words(self, tag: int, *, signed: bool = False) -> tuple[int, ...]:
        """Return the 16-bit integers of a US, SS or OW attribute; empty if absent.

        Raises
        ------
        InvalidHeader
        """
        value = self._value(tag)
        if value is None:
            return ()
        if isinstance(value, bytes):
            if len(value) % 2 or len(value) > 2 * _MAX_WORDS:
                raise InvalidHeader(
                    f"expected at most {_MAX_WORDS} numbers of 16 bits in {name_of(tag)}, got {len(value)} bytes; "
                    "export the image again"
                )
            little = self.is_little_endian(tag)
            return struct.unpack(f"{'<' if little else '>'}{len(value) // 2}{'h' if signed else 'H'}", value)
        try:
            return tuple(map(_whole, value)) if isinstance(value, Sequence) else (_whole(value),)
        except (TypeError, ValueError, OverflowError) as error:
            raise InvalidHeader(
                f"expected whole numbers in {name_of(tag)}, got other values; export the image again"
            ) from error

    def word(self, tag: int, default: int | None = None) -> int:
        """Return the one 16-bit unsigned integer of an attribute.

        Raises
        ------
        InvalidHeader
            The attribute is absent and has no default, or it is not one number.
        """
        values = self.words(tag)
        if not values and default is not None:
            return default
        if len(values) != 1:
            raise InvalidHeader(f"expected one number in {name_of(tag)}, got {len(values)}; export the image again")
        return values[0]

    def items(self, tag: int) -> "list[Elements]":
        """Return the items of a sequence; empty if absent.

        Raises
        ------
        InvalidHeader, TooLarge
        """
        element = self.element(tag)
        if element is None or not element.value:
            return []
        found = element.value
        if isinstance(element, RawDataElement):
            file, implicit, little = Metered(found, _MAX_ELEMENTS), element.is_implicit_VR, element.is_little_endian
            found = guarded(lambda: read_sequence(file, implicit, little, len(file.getbuffer()), "ascii"))
        items = list(found) if isinstance(found, Sequence) else [found]
        if not all(isinstance(item, Dataset) for item in items):
            raise InvalidHeader(f"expected a sequence of items in {name_of(tag)}, got another value; set it anew")
        return [Elements(item) for item in items]

    def is_little_endian(self, tag: int) -> bool:
        """Return the byte order of an attribute: its own while it is encoded, else that of the data set."""
        element = self.element(tag)
        if isinstance(element, RawDataElement):
            return element.is_little_endian
        return self._dataset.original_encoding[1] is not False

    def element(self, tag: int) -> DataElement | RawDataElement | None:
        """Return an attribute as it is stored, or as pydicom or a caller converted it; None if absent.

        Raises
        ------
        Unreadable
            Its reading was deferred, and the source is no longer what it was.
        """
        element = self._dataset.get_item(tag, keep_deferred=True)  # without, pydicom converts an empty one
        assert not isinstance(element, Dataset)  # noqa: S101 - for the type checker: only a slice returns one
        if isinstance(element, RawDataElement) and element.value is None and element.length:
            return read_deferred(self._dataset, element)
        return element

    def _value(self, tag: int) -> Any:
        element = self.element(tag)
        return None if element is None else element.value


def _whole(value: Any) -> int:
    """Return a number as an integer.

    Raises
    ------
    TypeError, ValueError, OverflowError
        It is not a whole number.
    """
    number = int(value)
    if number != value:
        raise ValueError
    return number


@contextmanager
def identified(elements: Elements) -> Iterator[None]:
    """Add a hash of the SOP instance's UID to errors that are raised within.

    Raises
    ------
    InputError
        Of the same kind.
    """
    try:
        yield
    except InputError as error:
        instance = elements.text(tags.SOP_INSTANCE_UID)
        known = hashlib.sha256(instance.encode()).hexdigest()[:HASH_DIGITS] if instance else "unknown"
        raise type(error)(f"{error} (hash of the SOP instance: {known})", error.content) from error


def name_of(tag: int) -> str:
    """Return a tag as the Standard writes it, with its keyword."""
    from pydicom.datadict import keyword_for_tag

    return f"{keyword_for_tag(tag)} ({tag >> 16:04X},{tag & 0xFFFF:04X})"
