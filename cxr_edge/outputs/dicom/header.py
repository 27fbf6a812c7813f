"""What results take from an image's header: patient, study, time zone, and the identity of the image.

Values of the patient and the study are copied as the image encodes them, with its character set. They are never decoded
here, so that a rare name is not damaged, and a malformed one does not appear in a warning. So are identifiers that
break the syntax of UIDs: what refers to the image must name it as it names itself.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta, timezone
from typing import Final

from pydicom.charset import python_encoding
from pydicom.datadict import dictionary_VR, keyword_for_tag
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import Tag

from cxr_edge.errors import InvalidHeader, NotDicom
from cxr_edge.images import DecodedImage
from cxr_edge.images.dicom.header import tags
from cxr_edge.images.dicom.header.elements import Elements, identified, name_of
from cxr_edge.images.dicom.header.parse import PREAMBLE, PREFIX
from cxr_edge.outputs.dicom.origin import derived_uid

#: PS3.5, 9.1.
_UID: Final = re.compile(r"(0|[1-9]\d*)(\.(0|[1-9]\d*))*")
_MAX_UID: Final = 64
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
    reference : pydicom.Dataset
        The image as other objects refer to it: identity and size, without patient data.
    shared : pydicom.Dataset
        Attributes that every object of the study shares: patient, study and time zone, encoded as in the image.
    key : str
        Hash of the image's instance, pixels and `fingerprint`, of `KEY_DIGITS`; it identifies the image in the UIDs of
        its results. The pixels are hashed as decoded, so that lossless recompression does not change the key. A
        corrected header does, so that archives do not take the new results for those that they have.
    elements : Elements
        The whole header.
    stand_ins : mapping
        UID in `reference` → the malformed identifier that it stands for, a character for each byte.
    """

    reference: Dataset
    shared: Dataset
    key: str
    elements: Elements
    stand_ins: Mapping[str, str]


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
        reference, stand_ins = _reference(elements)
        return Header(reference, _shared(elements), _key(elements, image), elements, stand_ins)


def is_dicom(data: bytes) -> bool:
    """Return whether the bytes are those of a DICOM file (PS3.10, 7.1)."""
    return data.startswith(PREFIX, PREAMBLE)


def _reference(elements: Elements) -> tuple[Dataset, dict[str, str]]:
    image, stand_ins = Dataset(), {}
    for tag in (tags.SOP_CLASS_UID, tags.SOP_INSTANCE_UID, tags.STUDY_INSTANCE_UID, tags.SERIES_INSTANCE_UID):
        uid = identifier_of(elements, tag)
        if not _is_uid(uid):  # the packages that write results would refuse it, or quote it
            uid = derived_uid("stand-in", uid)
            stand_ins[uid] = _encoded(elements, tag).decode("latin-1").strip(" \0")
        setattr(image, keyword_for_tag(tag), uid)
    image.Modality = "CR"
    image.Rows, image.Columns = elements.word(tags.ROWS), elements.word(tags.COLUMNS)
    image.SamplesPerPixel = 1  # presentation states are made only for such images
    for keyword in ("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID",
                    "StudyDate", "StudyTime", "ReferringPhysicianName"):  # fmt: skip
        setattr(image, keyword, "")
    return image, stand_ins


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


def _shared(elements: Elements) -> Dataset:
    shared = Dataset()
    character_set = elements.encoded(tags.HIDDEN_CHARACTER_SET)
    if character_set is not None and character_set[1].strip() and _is_known(character_set[1]):
        _put(shared, tags.CHARACTER_SET, "CS", character_set[1])
    for tag in (*tags.PATIENT, *tags.STUDY):
        found = elements.encoded(tag) if tag != tags.STUDY_INSTANCE_UID else None  # every object has it anyway
        if found is not None:
            _put(shared, tag, *found)
    if timezone_of(elements) is not None:
        _put(shared, tags.TIMEZONE, "SH", _encoded(elements, tags.TIMEZONE))
    if methods := elements.items(tags.DEIDENTIFICATION_METHOD):
        shared.DeidentificationMethodCodeSequence = [_code(item) for item in methods]
    return shared


def _code(item: Elements) -> Dataset:
    code = Dataset()
    for tag in tags.CODE:
        found = item.encoded(tag)
        if found is not None:
            _put(code, tag, *found)
    return code


def _put(shared: Dataset, tag: int, vr: str, value: bytes) -> None:
    shared[tag] = RawDataElement(Tag(tag), vr, len(value), value, 0, is_implicit_VR=False, is_little_endian=True)


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


def _is_uid(text: str) -> bool:
    return len(text) <= _MAX_UID and _UID.fullmatch(text) is not None
