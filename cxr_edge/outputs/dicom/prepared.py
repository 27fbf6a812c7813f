"""What every result object has: the image's identifiers, patient and study, the maker, and the time of making.

An object is prepared once, by highdicom, around stand-ins for what differs from image to image; see `template`. So the
values of an image are neither checked nor quoted in a warning by the packages that write results: identifiers that
break the syntax of UIDs stay as they are.
"""

import io
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Final

import pydicom
from pydicom.dataset import Dataset
from pydicom.uid import ComputedRadiographyImageStorage

from cxr_edge.model.provenance import Provenance
from cxr_edge.outputs.dicom.header import Header, timezone_of
from cxr_edge.outputs.dicom.origin import derived_uid, software_versions
from cxr_edge.outputs.dicom.template import Item, Template, leave_open, parse_file
from cxr_edge.support.maker import SOFTWARE

#: The stand-in for an image's key.
KEY: Final = "stand-in"
#: Dates and times at which an object was made; each kind of object has some of them.
_MADE_AT: Final = ("InstanceCreation{}", "Content{}", "PresentationCreation{}", "{}OfSecondaryCapture")
_MOMENT: Final = datetime(1999, 12, 31, 23, 58, 57, 123457, tzinfo=timezone.utc)
#: Keyword → stand-in for an image's identifier.
_IDENTIFIERS: Final = {
    "SOPClassUID": str(ComputedRadiographyImageStorage),  # highdicom looks it up
    **{keyword: derived_uid(KEY, keyword) for keyword in ("SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")},
}


def stand_in() -> Dataset:
    """Return an image as other objects refer to it, without patient."""
    image = Dataset()
    for keyword, uid in _IDENTIFIERS.items():
        setattr(image, keyword, uid)
    image.Modality = "CR"
    image.Rows = image.Columns = 1
    image.SamplesPerPixel = 1  # presentation states are made only for such images
    for keyword in ("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID",
                    "StudyDate", "StudyTime", "ReferringPhysicianName"):  # fmt: skip
        setattr(image, keyword, "")
    return image


def prepare(made: Dataset, provenance: Provenance, uids: Mapping[str, str]) -> tuple[Item, Item]:
    """Add the maker to an object of the stand-in, and leave open what differs from image to image.

    Parameters
    ----------
    made : pydicom.Dataset
        As highdicom made it.
    provenance : Provenance
    uids : mapping
        Name of a blank → the object's own UID in its place.

    Returns
    -------
    tuple of list of Element
        Of its file: the meta information, and the data set.
    """
    put_origin(made, provenance, _MOMENT)
    known = {value: name for name, value in _times(_MOMENT).items()}
    known |= {uid.encode(): name for name, uid in (_IDENTIFIERS | dict(uids)).items()}
    meta, elements = parse_file(encoded(made))
    return leave_open(meta, known), leave_open(elements, known)


def put_origin(made: Dataset, provenance: Provenance, moment: datetime) -> None:
    """Write into an object what made it, and when."""
    made.ManufacturerModelName = SOFTWARE
    made.SoftwareVersions = software_versions(provenance)
    made.DeviceSerialNumber = provenance.bundle_sha256[:16]
    times = {name: value.decode() for name, value in _times(moment).items()}
    for name in _MADE_AT:
        if (date := name.format("Date")) in made:
            setattr(made, date, times["date"])
            setattr(made, name.format("Time"), times["time"])
    for item in made.ContributingEquipmentSequence:
        item.ContributionDateTime = times["moment"]


def fill(
    template: Template,
    header: Header,
    moment: datetime,
    uids: Mapping[str, str],
    values: Mapping[str, bytes] | None = None,
    own: Mapping[int, bytes] | None = None,
) -> bytes:
    """Return the file of an image's object.

    Parameters
    ----------
    template : Template
        Of what `prepare` returned.
    header : Header
    moment : datetime
        See `moment_of`.
    uids : mapping
        Name of a blank → the object's own UID.
    values : mapping, optional
        Name of each further blank → value, encoded.
    own : mapping, optional
        Tag → element, encoded, beside those of the template, or in their place.
    """
    filled = {**header.identifiers, **_times(moment), **(values or {})}
    filled |= {name: uid.encode() for name, uid in uids.items()}
    return template.filled(filled, {**(own or {}), **header.shared})


def moment_of(header: Header) -> datetime:
    """Return the time, in the image's time zone, which every object names (PS3.3, C.12.1.1.8).

    Without one, it is a local time, as those of the image are.
    """
    zone = timezone_of(header.elements)
    return datetime.now(zone).astimezone(zone)


def _times(moment: datetime) -> dict[str, bytes]:
    """Return values of VR DA and TM; and of DT, which name their own zone."""
    formats = {"date": "%Y%m%d", "time": "%H%M%S.%f", "moment": "%Y%m%d%H%M%S.%f%z"}
    return {name: moment.strftime(form).encode() for name, form in formats.items()}


def encoded(made: Dataset) -> bytes:
    """Return an object as the bytes of a file (PS3.10)."""
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, made, enforce_file_format=True)
    return buffer.getvalue()
