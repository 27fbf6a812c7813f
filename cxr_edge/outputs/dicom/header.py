"""What results take from an image's header: patient, study, time zone, and the identity of the image.

Values of the patient and the study are copied as the image encodes them, with its character set. They are never decoded
here, so that a rare name is not damaged, and a malformed one does not appear in a warning. So are identifiers, some of
which break the syntax of UIDs: what refers to the image must name it as it names itself.
"""

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta, timezone
from typing import Final

from pydicom.charset import python_encoding
from pydicom.datadict import dictionary_VR, keyword_for_tag

from cxr_edge.errors import InvalidHeader, NotDicom
from cxr_edge.images import DecodedImage
from cxr_edge.images.dicom.header import tags
from cxr_edge.images.dicom.header.elements import Elements, identified, name_of
from cxr_edge.images.dicom.header.parse import PREAMBLE, PREFIX
from cxr_edge.outputs.dicom.template import encoded_element, item_of

#: What refers to an image names it by these.
IDENTIFIERS: Final = (
    tags.SOP_CLASS_UID, tags.SOP_INSTANCE_UID, tags.STUDY_INSTANCE_UID, tags.SERIES_INSTANCE_UID
)  # fmt: skip
#: Minutes and hours east of UTC (PS3.3, C.12.1.1.8).
_TIMEZONE: Final = re.compile(r"[+-](0\d|1[0-4])[0-5]\d")
#: Attributes that describe how an image is encoded, not what it shows or whose it is.
_ENCODING: Final = frozenset({
    tags.TRANSFER_SYNTAX_UID, tags.PHOTOMETRIC, tags.NUMBER_OF_FRAMES, tags.LOSSY, tags.LOSSY_RATIO, tags.LOSSY_METHOD,
})  # fmt: skip
#: Representations of text, which all transfer syntaxes encode alike.
_TEXT: Final = frozenset({"AE", "AS", "CS", "DA", "DS", "DT", "IS", "LO", "LT", "PN", "SH", "ST", "TM", "UI", "UT"})


#: Digits of the key of an image.
KEY_DIGITS: Final = 32


def _is_text(tag: int) -> bool:
    return tag == tags.HIDDEN_CHARACTER_SET or dictionary_VR(tag) in _TEXT


#: Attributes that results copy or depend on.
_DESCRIBING: Final = tuple(tag for tag in tags.WANTED_BY_RESULTS if tag not in _ENCODING and _is_text(tag))


@dataclass(frozen=True)
class Header:
    """The parts of an image's header that results need.

    Attributes
    ----------
    identifiers : mapping
        Keyword → UID of the image's class, instance, series and study, or what the image has in its place, encoded.
    shared : mapping
        Tag → element that every object of the study shares, encoded: patient, study and time zone.
    key : str
        Hash of the image's instance, pixels and `fingerprint`, of `KEY_DIGITS`; it identifies the image in the UIDs of
        its results. The pixels are hashed as decoded, so that lossless recompression does not change the key. A
        corrected header does, so that archives do not take the new results for those that they have.
    elements : Elements
        The whole header.
    """

    identifiers: Mapping[str, bytes]
    shared: Mapping[int, bytes]
    key: str
    elements: Elements


def read_header(image: DecodedImage) -> Header:
    """Read the parts of a DICOM image's header that its results need.

    Parameters
    ----------
    image : DecodedImage

    Returns
    -------
    Header

    Raises
    ------
    NotDicom
    InvalidHeader
        A UID that results must refer to is missing.
    """
    elements = image.header
    if elements is None:
        raise NotDicom("expected a DICOM image, since DICOM results need its patient and study; got another format")
    with identified(elements):
        return Header(_identifiers(elements), _shared(elements), _key(elements, image), elements)


def is_dicom(data: bytes) -> bool:
    """Return whether the bytes are those of a DICOM file (PS3.10, 7.1)."""
    return data.startswith(PREFIX, PREAMBLE)


def _identifiers(elements: Elements) -> dict[str, bytes]:
    identifiers = {}
    for tag in IDENTIFIERS:
        identifier_of(elements, tag)  # it is there
        identifiers[keyword_for_tag(tag)] = _encoded(elements, tag).strip(b" \0")
    return identifiers


def _key(elements: Elements, image: DecodedImage) -> str:
    pixels = hashlib.sha256(image.pixels.tobytes()).hexdigest()
    parts = (elements.text(tags.SOP_INSTANCE_UID), pixels, fingerprint(elements))
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:KEY_DIGITS]


def fingerprint(elements: Elements) -> str:
    """Return a hash of the text attributes that results copy or depend on: patient, study, series, display.

    The same for every encoding of an image, with empty attributes or without them; another one where any value was
    corrected.
    """
    digest = hashlib.sha256()
    for tag in _DESCRIBING:
        value = _encoded(elements, tag).strip(b" \0").rstrip(b"^= ")  # empty components may be left out (PS3.5, 6.2.1)
        digest.update(b"%08x %d " % (tag, len(value)) + value)
    return digest.hexdigest()


def _encoded(elements: Elements, tag: int) -> bytes:
    found = elements.encoded(tag)
    return found[1] if found is not None else elements.text(tag).encode()


def _shared(elements: Elements) -> dict[int, bytes]:
    copied = [
        tag for tag in (*tags.PATIENT, *tags.STUDY) if tag != tags.STUDY_INSTANCE_UID
    ]  # every object has it anyway
    shared = _copied(elements, copied)
    character_set = elements.encoded(tags.HIDDEN_CHARACTER_SET)
    if character_set is not None and character_set[1].strip() and _is_known(character_set[1]):
        shared[tags.CHARACTER_SET] = encoded_element(tags.CHARACTER_SET, b"CS", character_set[1])
    if timezone_of(elements) is not None:
        shared[tags.TIMEZONE] = encoded_element(tags.TIMEZONE, b"SH", _encoded(elements, tags.TIMEZONE))
    if methods := elements.items(tags.DEIDENTIFICATION_METHOD):
        codes = [_copied(item, tags.CODE) for item in methods]
        items = b"".join(item_of(b"".join(code[tag] for tag in sorted(code))) for code in codes)
        shared[tags.DEIDENTIFICATION_METHOD] = encoded_element(tags.DEIDENTIFICATION_METHOD, b"SQ", items)
    return shared


def _copied(elements: Elements, wanted: Iterable[int]) -> dict[int, bytes]:
    """Return text elements with their values as encoded; with the Standard's VR, whatever the file states."""
    found = {tag: elements.encoded(tag) for tag in wanted}
    return {
        tag: encoded_element(tag, dictionary_VR(tag).encode(), value[1])
        for tag, value in found.items()
        if value is not None
    }


def _is_known(character_set: bytes) -> bool:
    """Return whether each of the character sets is one of the Standard's (PS3.3, C.12.1.1.2)."""
    return all(part.strip() in python_encoding for part in character_set.decode("ascii", "replace").split("\\"))


def timezone_of(elements: Elements) -> timezone | None:
    """Return the time zone of an image's dates and times (PS3.3, C.12.1.1.8); None without a valid one."""
    text = elements.text(tags.TIMEZONE)
    if not _TIMEZONE.fullmatch(text):
        return None
    east = timedelta(hours=int(text[1:3]), minutes=int(text[3:]))
    return timezone(-east if text[0] == "-" else east)


def identifier_of(elements: Elements, tag: int) -> str:
    """Return the value of an attribute that identifies something: a UID, or what the image has in its place.

    Devices write UIDs that break the syntax, such as components with leading zeros. They identify no less, and are
    taken as they are; nothing but hashes of them may become part of a path.

    Raises
    ------
    InvalidHeader
        It is missing.
    """
    identifier = elements.text(tag)
    if not identifier:
        raise InvalidHeader(
            f"expected a UID in {name_of(tag)}, which results refer to, got none; send the image with one"
        )
    return identifier
