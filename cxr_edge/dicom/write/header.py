"""What a film's header gives to its results: patient, study, and how the film is shown.

Values of the patient and the study are copied as the film encodes them, with its character set.
They are never decoded here, so that neither a rare name is damaged nor a malformed one told in
a warning.
"""

import re
from dataclasses import dataclass
from typing import Final

from pydicom.charset import python_encoding
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import Tag

from cxr_edge.dicom import tags
from cxr_edge.dicom.elements import Elements, identified, name_of
from cxr_edge.dicom.parse import PREAMBLE, PREFIX, parse
from cxr_edge.errors import InvalidHeader, NotDicom
from cxr_edge.reading import Reading

#: PS3.5, 9.1.
_UID: Final = re.compile(r"(0|[1-9]\d*)(\.(0|[1-9]\d*))*")
_MAX_UID: Final = 64


@dataclass(frozen=True)
class Header:
    """A film's header, as far as results need it.

    Attributes
    ----------
    reference : pydicom.Dataset
        The film for those who refer to it: identity, size, and how its levels are shown. Nothing of the patient.
    shared : pydicom.Dataset
        What every object of the study shares: patient and study, encoded as in the film.
    """

    reference: Dataset
    shared: Dataset

    @property
    def instance(self) -> str:
        """SOP Instance UID of the film."""
        return str(self.reference.SOPInstanceUID)


def read_header(data: bytes, reading: Reading) -> Header:
    """Read the header of a DICOM film.

    Parameters
    ----------
    data : bytes
        The file.
    reading : Reading

    Returns
    -------
    Header

    Raises
    ------
    NotDicom
    InvalidHeader
        A UID that results must refer to is missing or is none.
    """
    if not is_dicom(data):
        raise NotDicom("expected a DICOM film, whose patient and study DICOM results belong to; got another format")
    elements = parse(data, reading, tags.WANTED_BY_RESULTS).elements
    with identified(elements):
        return Header(_reference(elements), _shared(elements))


def is_dicom(data: bytes) -> bool:
    """Tell whether the bytes are those of a DICOM file (PS3.10, 7.1)."""
    return data.startswith(PREFIX, PREAMBLE)


def _reference(elements: Elements) -> Dataset:
    film = Dataset()
    film.SOPClassUID = uid_of(elements, tags.SOP_CLASS_UID)
    film.SOPInstanceUID = uid_of(elements, tags.SOP_INSTANCE_UID)
    film.StudyInstanceUID = uid_of(elements, tags.STUDY_INSTANCE_UID)
    film.SeriesInstanceUID = uid_of(elements, tags.SERIES_INSTANCE_UID)
    film.Modality = "CR"
    film.Rows, film.Columns = elements.word(tags.ROWS), elements.word(tags.COLUMNS)
    film.SamplesPerPixel = 1  # of the film as it is shown: grey that is stored as colour has a state of its own kind
    film.PhotometricInterpretation = elements.text(tags.PHOTOMETRIC)
    film.PixelRepresentation = elements.word(tags.PIXEL_REPRESENTATION, 0)
    film.BitsStored = elements.word(tags.BITS_STORED, 16)
    _copy_levels(elements, film)
    for keyword in ("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID",
                    "StudyDate", "StudyTime", "ReferringPhysicianName"):  # fmt: skip
        setattr(film, keyword, "")
    return film


def _copy_levels(elements: Elements, film: Dataset) -> None:
    """Copy how stored values become grey levels; a presentation state replaces all of it (PS3.4, N.2)."""
    signed = bool(film.PixelRepresentation)
    center, width = elements.decimals(tags.WINDOW_CENTER), elements.decimals(tags.WINDOW_WIDTH)
    if luts := elements.items(tags.MODALITY_LUT):
        film.ModalityLUTSequence = [_lut(luts[0], signed=signed)]
        film.ModalityLUTSequence[0].ModalityLUTType = luts[0].text(tags.LUT_TYPE) or "US"
    elif slope := elements.decimals(tags.RESCALE_SLOPE):
        film.RescaleSlope = slope[0]
        film.RescaleIntercept = (elements.decimals(tags.RESCALE_INTERCEPT) or (0.0,))[0]
        film.RescaleType = "US"
    if luts := elements.items(tags.VOI_LUT):
        film.VOILUTSequence = [_lut(luts[0], signed=signed)]
    elif center and width and width[0] >= 1:
        film.WindowCenter, film.WindowWidth = center[0], width[0]
        film.VOILUTFunction = elements.text(tags.VOI_LUT_FUNCTION) or "LINEAR"
    inverse = film.PhotometricInterpretation == "MONOCHROME1" or elements.text(tags.PRESENTATION_LUT_SHAPE) == "INVERSE"
    film.PresentationLUTShape = "INVERSE" if inverse else "IDENTITY"


def _lut(item: Elements, *, signed: bool) -> Dataset:
    table = Dataset()
    count, first, bits = item.words(tags.LUT_DESCRIPTOR)
    vr = "SS" if signed else "US"
    table.add_new(tags.LUT_DESCRIPTOR, vr, [count, first - 65536 if signed and first >= 32768 else first, bits])
    table.add_new(tags.LUT_DATA, "OW", b"".join(word.to_bytes(2, "little") for word in item.words(tags.LUT_DATA)))
    return table


def _shared(elements: Elements) -> Dataset:
    shared = Dataset()
    character_set = elements.encoded(tags.HIDDEN_CHARACTER_SET)
    if character_set is not None and _is_known(character_set[1]):
        _put(shared, tags.CHARACTER_SET, "CS", character_set[1])
    for tag in (*tags.PATIENT, *tags.STUDY):
        found = elements.encoded(tag)
        if found is not None:
            _put(shared, tag, *found)
    return shared


def _put(shared: Dataset, tag: int, vr: str, value: bytes) -> None:
    shared[tag] = RawDataElement(Tag(tag), vr, len(value), value, 0, is_implicit_VR=False, is_little_endian=True)


def _is_known(character_set: bytes) -> bool:
    """Tell whether each of the character sets is one of the Standard's (PS3.3, C.12.1.1.2)."""
    return all(part.strip() in python_encoding for part in character_set.decode("ascii", "replace").split("\\"))


def uid_of(elements: Elements, tag: int) -> str:
    """Give the value of an attribute that must be a UID.

    Raises
    ------
    InvalidHeader
    """
    uid = elements.text(tag)
    if len(uid) > _MAX_UID or not _UID.fullmatch(uid):
        raise InvalidHeader(f"expected a UID in {name_of(tag)}, which results refer to; got none. Send the film anew")
    return uid
