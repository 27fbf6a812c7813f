"""What every result object gets once its content is made: patient, study, maker, times, and the image's identifiers."""

from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Final

from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset

from cxr_edge.model.provenance import Provenance
from cxr_edge.outputs.dicom.header import Header, timezone_of
from cxr_edge.outputs.dicom.origin import software_versions
from cxr_edge.support.maker import SOFTWARE

#: Dates and times at which an object was made; each kind of object has some of them.
_MADE_AT: Final = ("InstanceCreation{}", "Content{}", "PresentationCreation{}", "{}OfSecondaryCapture")


def finished(made: Dataset, header: Header, provenance: Provenance) -> Dataset:
    """Add to an object the patient, the study and the manufacturer; say its times as the image says its own.

    Parameters
    ----------
    made : pydicom.Dataset
        As highdicom made it, without a patient.
    header : Header
    provenance : Provenance
    """
    for tag in header.shared.keys():  # noqa: SIM118 - a data set iterates over elements, not tags
        made[tag] = header.shared.get_item(tag)
    made.ManufacturerModelName = SOFTWARE
    made.SoftwareVersions = software_versions(provenance)
    made.DeviceSerialNumber = provenance.bundle_sha256[:16]
    _put_times(made, timezone_of(header.elements))
    if header.stand_ins:
        _put_identifiers(made, header.stand_ins)
    return made


def _put_times(made: Dataset, zone: timezone | None) -> None:
    """Write the time of making in the image's time zone, which the object names (PS3.3, C.12.1.1.8).

    Without one, dates and times stay local ones, as those of the image are. Values of VR DT name their own zone.
    """
    now = datetime.now(zone).astimezone(zone)
    for name in _MADE_AT if zone is not None else ():
        date, time = name.format("Date"), name.format("Time")
        if date in made:
            setattr(made, date, now.strftime("%Y%m%d"))
            setattr(made, time, now.strftime("%H%M%S.%f"))
    for item in made.ContributingEquipmentSequence:
        item.ContributionDateTime = now.strftime("%Y%m%d%H%M%S.%f%z")


def _put_identifiers(made: Dataset, stand_ins: Mapping[str, str]) -> None:
    """Put malformed identifiers of the image, as it encodes them, in the place of the UIDs that stand for them."""
    for tag in list(made.keys()):
        element = made.get_item(tag)
        if element is None or isinstance(element, RawDataElement):
            continue
        if element.VR == "SQ":
            for item in element.value:
                _put_identifiers(item, stand_ins)
        elif element.VR == "UI" and str(element.value) in stand_ins:
            # As a value that is converted already, it is neither checked nor quoted in a warning.
            made[tag] = DataElement(tag, "UI", stand_ins[str(element.value)], already_converted=True)
