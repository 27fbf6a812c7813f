"""DICOM files written from a prepared one: highdicom builds and checks an object once, then only values change.

A prepared file is taken apart by the rules of its encoding (PS3.5, 7: Explicit VR Little Endian), and put together
again around other values: what is not left open keeps its bytes, and lengths are counted anew.
"""

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

from pydicom.datadict import dictionary_VR
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.tag import Tag

#: Value representations with a length of four bytes (PS3.5, table 7.1-1).
_LONG: Final = frozenset({b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"})
#: Those whose values are padded with a null byte (PS3.5, 6.2).
_NULL_PADDED: Final = frozenset({b"UI", b"OB"})
#: Even bytes that a length of two bytes can state.
_LONGEST: Final = 0xFFFE
_UNDEFINED: Final = 0xFFFFFFFF
_PREAMBLE: Final = 132
_GROUP_LENGTH: Final = 0x00020000
_PIXEL_DATA: Final = 0x7FE00010
_END_OF_SEQUENCE: Final = b"\xfe\xff\xdd\xe0\0\0\0\0"
_ITEM: Final = b"\xfe\xff\x00\xe0"


@dataclass
class Element:
    """A data element of a prepared object.

    Attributes
    ----------
    tag : int
    vr : bytes
    value : bytes, list of items, or Blank
        Items are lists of elements, in the order of their tags; a blank among them stands for any number of items.
    """

    tag: int
    vr: bytes
    value: "bytes | list[Item | Blank] | Blank"

    @property
    def items(self) -> "list[Item]":
        """The items of a sequence, but for blanks.

        Raises
        ------
        TypeError
        """
        if not isinstance(self.value, list):
            raise TypeError(f"expected a sequence at tag {self.tag:08x}")
        return [item for item in self.value if not isinstance(item, Blank)]


@dataclass(frozen=True)
class Blank:
    """A value that is left open, by the name it is filled in by."""

    name: str


Item: TypeAlias = list[Element]


def parse(data: bytes) -> Item:
    """Take a data set apart.

    Parameters
    ----------
    data : bytes
        Explicit VR Little Endian, as pydicom writes it: sequences and items with lengths.

    Returns
    -------
    list of Element
    """
    elements, at = [], 0
    while at < len(data):
        group, number, vr = struct.unpack_from("<HH2s", data, at)
        start, length = at + 8, int(struct.unpack_from("<H", data, at + 6)[0])
        if vr in _LONG:
            start, length = at + 12, int(struct.unpack_from("<I", data, at + 8)[0])
        if length == _UNDEFINED:
            raise ValueError(f"expected lengths in a prepared object, got none at byte {at}")
        at = start + length
        value = data[start:at]
        elements.append(Element(group << 16 | number, vr, _items(value) if vr == b"SQ" else value))
    return elements


def _items(data: bytes) -> list[Item | Blank]:
    items: list[Item | Blank] = []
    at = 0
    while at < len(data):
        (length,) = struct.unpack_from("<I", data, at + 4)
        items.append(parse(data[at + 8 : at + 8 + length]))
        at += 8 + length
    return items


def find(item: Item, tag: int) -> Element:
    """Return the element of a tag.

    Raises
    ------
    KeyError
    """
    for element in item:
        if element.tag == tag:
            return element
    raise KeyError(f"no element of tag {tag:08x}")


def leave_open(item: Item, stand_ins: Mapping[bytes, str]) -> Item:
    """Put blanks in the place of stand-in values, within sequences too; return the same item.

    Parameters
    ----------
    item : list of Element
    stand_ins : mapping
        A value as it is encoded, without padding → the name of the blank.
    """
    for element in item:
        if isinstance(element.value, list):
            for nested in element.value:
                if not isinstance(nested, Blank):
                    leave_open(nested, stand_ins)
        elif isinstance(element.value, bytes):
            name = stand_ins.get(element.value) or stand_ins.get(element.value.rstrip(b" \0"))
            element.value = element.value if name is None else Blank(name)
    return item


class _Sequence:
    """Compiled: a sequence with something left open."""

    def __init__(self, head: bytes, items: list["Filled | Blank"]) -> None:
        self._head, self._items = head, items

    def filled(self, values: Mapping[str, bytes]) -> bytes:
        content = b"".join(
            values[item.name] if isinstance(item, Blank) else item_of(item.filled(values)) for item in self._items
        )
        return self._head + struct.pack("<I", len(content)) + content


class _Open:
    """Compiled: an element with its value left open."""

    def __init__(self, element: Element, name: str) -> None:
        self._element, self._name = element, name

    def filled(self, values: Mapping[str, bytes]) -> bytes:
        return encoded_element(self._element.tag, self._element.vr, values[self._name])


class Filled:
    """A part of a prepared object: elements of which values are left open.

    Parameters
    ----------
    elements : list of Element
    """

    def __init__(self, elements: Item) -> None:
        self._parts: list[bytes | _Sequence | _Open] = []
        for part in map(_compiled, elements):
            if isinstance(part, bytes) and self._parts and isinstance(last := self._parts[-1], bytes):
                self._parts[-1] = last + part
            else:
                self._parts.append(part)

    @property
    def is_fixed(self) -> bool:
        """Whether nothing is left open."""
        return all(isinstance(part, bytes) for part in self._parts)

    def filled(self, values: Mapping[str, bytes]) -> bytes:
        """Return the bytes with values in the blanks; values are encoded, but not padded."""
        return b"".join(part if isinstance(part, bytes) else part.filled(values) for part in self._parts)


def _compiled(element: Element) -> bytes | _Sequence | _Open:
    if isinstance(element.value, Blank):
        return _Open(element, element.value.name)
    if isinstance(element.value, bytes):
        return encoded_element(element.tag, element.vr, element.value)
    items = [item if isinstance(item, Blank) else Filled(item) for item in element.value]
    sequence = _Sequence(_head(element.tag, element.vr), items)
    fixed = all(not isinstance(item, Blank) and item.is_fixed for item in items)
    return sequence.filled({}) if fixed else sequence


def _head(tag: int, vr: bytes) -> bytes:
    """Return what stands before the length of four bytes or two."""
    return struct.pack("<HH2s", tag >> 16, tag & 0xFFFF, vr) + (b"\0\0" if vr in _LONG else b"")


def encoded_element(tag: int, vr: bytes, value: bytes) -> bytes:
    """Return an element of a value that is not padded yet."""
    if len(value) > _LONGEST and vr not in _LONG:
        vr = b"UN"  # PS3.5, 6.2.2, note 3
    if len(value) % 2:
        value += b"\0" if vr in _NULL_PADDED else b" "
    return _head(tag, vr) + struct.pack("<I" if vr in _LONG else "<H", len(value)) + value


def item_of(content: bytes) -> bytes:
    """Return the content of an item with its tag and its length."""
    return _ITEM + struct.pack("<I", len(content)) + content


class Template:
    """A prepared file (PS3.10) in which values are left open.

    Parameters
    ----------
    meta, elements : list of Element
        Of the file's meta information, and of its data set.
    """

    def __init__(self, meta: Item, elements: Item) -> None:
        self._meta = Filled([element for element in meta if element.tag != _GROUP_LENGTH])
        self._elements = {element.tag: Filled([element]) for element in elements}

    def filled(self, values: Mapping[str, bytes], own: Mapping[int, bytes]) -> bytes:
        """Return a file.

        Parameters
        ----------
        values : mapping
            Name of each blank → value, encoded, but not padded.
        own : mapping
            Tag → element, encoded, that this file has beside those of the template, or in their place.
        """
        meta = self._meta.filled(values)
        parts = {tag: part.filled(values) for tag, part in self._elements.items() if tag not in own}
        parts.update(own)
        length = encoded_element(_GROUP_LENGTH, b"UL", struct.pack("<I", len(meta)))
        return b"".join([bytes(_PREAMBLE - 4), b"DICM", length, meta, *(parts[tag] for tag in sorted(parts))])


def parse_file(data: bytes) -> tuple[Item, Item]:
    """Take a file (PS3.10) apart: its meta information, and its data set."""
    length_at = _PREAMBLE + 8
    (length,) = struct.unpack_from("<I", data, length_at)
    start = length_at + 4 + length
    return parse(data[_PREAMBLE:start]), parse(data[start:])


def element(keyword: str, *values: str | int) -> tuple[int, bytes]:
    """Return the tag of a keyword, and the element of its values: numbers of VR US, or ASCII text."""
    tag, vr = int(Tag(keyword)), dictionary_VR(keyword)
    if vr == "US":
        return tag, encoded_element(tag, b"US", struct.pack(f"<{len(values)}H", *values))
    return tag, encoded_element(tag, vr.encode(), "\\".join(map(str, values)).encode("ascii"))


def encapsulated(stream: bytes) -> tuple[int, bytes]:
    """Return the tag of pixel data, and its element with one compressed frame (PS3.5, A.4)."""
    head = _head(_PIXEL_DATA, b"OB") + struct.pack("<I", _UNDEFINED)
    return _PIXEL_DATA, head + encapsulate([stream]) + _END_OF_SEQUENCE


def encoded_data_set(made: Dataset) -> bytes:
    """Return a data set as pydicom writes it, without a file's meta information."""
    buffer = DicomBytesIO()
    buffer.is_little_endian, buffer.is_implicit_VR = True, False
    write_dataset(buffer, made)
    return bytes(buffer.getvalue())
