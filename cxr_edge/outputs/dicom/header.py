"""What results take from an image's header: patient, study, and the identity of the image.

Values of the patient and the study are copied as the image encodes them, with its character set. They are never decoded
here, so that a rare name is not damaged, and a malformed one does not appear in a warning.
"""

import hashlib
import re
from dataclasses import dataclass
from typing import Final

from pydicom.charset import python_encoding
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import Tag

from cxr_edge.errors import InvalidHeader, NotDicom
from cxr_edge.images import DecodedImage
from cxr_edge.images.dicom import tags
from cxr_edge.images.dicom.elements import Elements, identified, name_of
from cxr_edge.images.dicom.parse import PREAMBLE, PREFIX

#: PS3.5, 9.1.
_UID: Final = re.compile(r"(0|[1-9]\d*)(\.(0|[1-9]\d*))*")
_MAX_UID: Final = 64


@dataclass(frozen=True)
class Header:
    """The parts of an image's header that results need.

    Attributes
    ----------
    reference : pydicom.Dataset
        The image as other objects refer to it: identity and size, without patient data.
    shared : pydicom.Dataset
        Attributes that every object of the study shares: patient and study, encoded as in the image.
    key : str
        Hash of the image's study, instance and pixels; it identifies the image in the UIDs of its results. The pixels
        are hashed as decoded, so that lossless recompression does not change the key.
    elements : Elements
        The whole header.
    """

    reference: Dataset
    shared: Dataset
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
        A UID that results must refer to is missing or malformed.
    """
    elements = image.header
    if elements is None:
        raise NotDicom("expected a DICOM image, since DICOM results need its patient and study; got another format")
    with identified(elements):
        return Header(_reference(elements), _shared(elements), _key(elements, image), elements)


def is_dicom(data: bytes) -> bool:
    """Return whether the bytes are those of a DICOM file (PS3.10, 7.1)."""
    return data.startswith(PREFIX, PREAMBLE)


def _reference(elements: Elements) -> Dataset:
    image = Dataset()
    image.SOPClassUID = uid_of(elements, tags.SOP_CLASS_UID)
    image.SOPInstanceUID = uid_of(elements, tags.SOP_INSTANCE_UID)
    image.StudyInstanceUID = uid_of(elements, tags.STUDY_INSTANCE_UID)
    image.SeriesInstanceUID = uid_of(elements, tags.SERIES_INSTANCE_UID)
    image.Modality = "CR"
    image.Rows, image.Columns = elements.word(tags.ROWS), elements.word(tags.COLUMNS)
    image.SamplesPerPixel = 1  # presentation states are made only for such images
    for keyword in ("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID",
                    "StudyDate", "StudyTime", "ReferringPhysicianName"):  # fmt: skip
        setattr(image, keyword, "")
    return image


def _key(elements: Elements, image: DecodedImage) -> str:
    pixels = hashlib.sha256(image.pixels.tobytes()).hexdigest()
    parts = (elements.text(tags.STUDY_INSTANCE_UID), elements.text(tags.SOP_INSTANCE_UID), pixels)
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _shared(elements: Elements) -> Dataset:
    shared = Dataset()
    character_set = elements.encoded(tags.HIDDEN_CHARACTER_SET)
    if character_set is not None and character_set[1].strip() and _is_known(character_set[1]):
        _put(shared, tags.CHARACTER_SET, "CS", character_set[1])
    for tag in (*tags.PATIENT, *tags.STUDY):
        found = elements.encoded(tag)
        if found is not None:
            _put(shared, tag, *found)
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


def uid_of(elements: Elements, tag: int) -> str:
    """Return the value of an attribute that must be a UID.

    Raises
    ------
    InvalidHeader
    """
    uid = elements.text(tag)
    if len(uid) > _MAX_UID or not _UID.fullmatch(uid):
        raise InvalidHeader(
            f"expected a valid UID in {name_of(tag)}, which results refer to; it is missing or malformed. Send the "
            "image with a valid one"
        )
    return uid
