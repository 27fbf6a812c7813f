"""The structured report: every finding with probability and decision (PS3.16, TID 1500; IHE AI Results)."""

import copy
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Final

from highdicom import sr
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes as dicom_codes
from pydicom.sr.coding import Code
from pydicom.uid import UID, Comprehensive3DSRStorage, ComprehensiveSRStorage, EnhancedSRStorage
from pydicom.valuerep import DSfloat

from cxr_edge.images.dicom.header import tags
from cxr_edge.model.labels import Label
from cxr_edge.model.provenance import Provenance
from cxr_edge.model.results import NOTICE, Result
from cxr_edge.outputs.dicom import codes
from cxr_edge.outputs.dicom.header import Header
from cxr_edge.outputs.dicom.origin import (
    coding_scheme,
    derived_uid,
    device_uid,
    equipment,
    parameters,
    result_uid,
    software_versions,
)
from cxr_edge.outputs.dicom.prepared import KEY, fill, prepare, stand_in
from cxr_edge.outputs.dicom.template import Blank, Filled, Item, Template, encoded_data_set, find, item_of, leave_open
from cxr_edge.support.maker import MAKER, SOFTWARE
from cxr_edge.support.warnings import CodedWarning

#: The most general class for the document, and those that older archives accept instead.
CLASSES: Final = (Comprehensive3DSRStorage, ComprehensiveSRStorage, EnhancedSRStorage)
SERIES_NUMBER: Final = 9001
#: Digits of a probability: enough that different probabilities of an image stay different.
DIGITS: Final = 6

CONTENT: Final = 0x0040A730
CONCEPT_NAME: Final = 0x0040A043
CODE: Final = 0x0040A168
#: The container of all groups: "Imaging Measurements" (DCM).
_MEASUREMENTS: Final = "126010"
_WARNING: Final = "warning="
#: A probability that no other number of a report equals, and a decision.
_STAND_IN: Final = (0.987613, True)


def structured_report(header: Header, result: Result, provenance: Provenance, moment: datetime) -> bytes:
    """Return the report of one image as Comprehensive 3D SR; see `in_class` for other classes.

    Parameters
    ----------
    header : Header
    result : Result
    provenance : Provenance
    moment : datetime
        When it is made.

    Returns
    -------
    bytes
        A file (PS3.10).
    """
    prepared = _prepared(provenance)
    common = {**header.identifiers, "warnings": b"".join(map(prepared.warning_item, result.warnings))}
    findings = b"".join(
        item_of(prepared.groups[label.name].filled({**common, **_values(prepared, header, label, p, provenance)}))
        for label, p in result.ranked()
    )
    return fill(prepared.document, header, moment, _uids(provenance, header.key), {"findings": findings})


def _values(
    prepared: "_Prepared", header: Header, label: Label, probability: float, provenance: Provenance
) -> dict[str, bytes]:
    """Return what differs from image to image in a finding's group."""
    value = round(probability, DIGITS)
    return {
        "finding": _finding_uid(provenance, header.key, label).encode(),
        "decimal": str(DSfloat(value, auto_format=True)).encode(),
        "double": struct.pack("<d", value),
        "decision": prepared.decisions[probability >= provenance.thresholds[label.name]],
    }


@dataclass(frozen=True)
class _Prepared:
    """A report in which what differs from image to image is left open.

    Attributes
    ----------
    document : Template
        With ``findings`` for the items of all groups.
    groups : mapping
        Name of a label → its group.
    warning : Filled
        The item of one warning in a group, with ``text``.
    decisions : mapping
        Whether a finding is present → the item of the code that says so.
    """

    document: Template
    groups: Mapping[str, Filled]
    warning: Filled
    decisions: Mapping[bool, bytes]

    def warning_item(self, warning: CodedWarning) -> bytes:
        """Return the item of a warning."""
        text = f"{_WARNING}{warning}".encode("ascii", "backslashreplace")
        return item_of(self.warning.filled({"text": text}))


@lru_cache(maxsize=16)
def _prepared(provenance: Provenance) -> _Prepared:
    labels = [label for label in provenance.labels if label.is_finding]
    made = built(stand_in(), KEY, [(label, *_STAND_IN) for label in labels], [KEY], provenance)
    meta, elements = prepare(made, provenance, _uids(provenance, KEY))
    listed = find(_measurements(elements), CONTENT)
    warning = _warning(listed.items[0])
    groups = {
        label.name: _open_group(group, label, provenance) for label, group in zip(labels, listed.items, strict=True)
    }
    listed.value = Blank("findings")
    decisions = {present: _code_item(code) for present, code in ((True, codes.PRESENT), (False, codes.ABSENT))}
    return _Prepared(Template(meta, elements), groups, warning, decisions)


def _measurements(elements: Item) -> Item:
    """Return the container of all groups (PS3.16, TID 1500)."""
    return next(item for item in find(elements, CONTENT).items if _concept(item) == _MEASUREMENTS)


def _warning(group: Item) -> Filled:
    (item,) = (item for item in find(group, CONTENT).items if _is_warning(item))
    return Filled(leave_open(copy.deepcopy(item), {f"{_WARNING}{KEY}".encode(): "text"}))


def _is_warning(item: Item) -> bool:
    return any(element.value == f"{_WARNING}{KEY}".encode() for element in item)  # of even length: not padded


def _open_group(group: Item, label: Label, provenance: Provenance) -> Filled:
    probability, _ = _STAND_IN
    blanks = {
        _finding_uid(provenance, KEY, label).encode(): "finding",
        str(DSfloat(probability, auto_format=True)).encode(): "decimal",
        struct.pack("<d", probability): "double",
    }
    content = find(group, CONTENT)
    decision = next(item for item in content.items if _concept(item) == codes.PRESENCE.value)
    find(decision, CODE).value = Blank("decision")
    content.value = [Blank("warnings") if _is_warning(item) else item for item in content.items]
    return Filled(leave_open(group, blanks))


def _concept(item: Item) -> str | None:
    """Return the value of the code that names a content item."""
    names = [element.items[0] for element in item if element.tag == CONCEPT_NAME]
    value = find(names[0], tags.CODE_VALUE).value if names else None
    return value.decode().strip() if isinstance(value, bytes) else None


def _code_item(code: Code) -> bytes:
    return item_of(encoded_data_set(sr.CodedConcept.from_code(code)))


def _uids(provenance: Provenance, key: str) -> dict[str, str]:
    return {"report": report_uid(provenance, key), "series": result_uid(provenance, key, "report series")}


def _finding_uid(provenance: Provenance, key: str, label: Label) -> str:
    return result_uid(provenance, key, "finding", label.name)


def built(
    image: Dataset,
    key: str,
    findings: Sequence[tuple[Label, float, bool]],
    warnings: Sequence[str],
    provenance: Provenance,
) -> Dataset:
    """Build a report by highdicom.

    Parameters
    ----------
    image : pydicom.Dataset
        What the report refers to.
    key : str
        Of the image; see `Header`.
    findings : sequence of (Label, float, bool)
        Each label with its probability, and whether it is present, in the order of the report.
    warnings : sequence of str
    provenance : Provenance
    """
    report = sr.MeasurementReport(
        observation_context=sr.ObservationContext(
            observer_device_context=sr.ObserverContext(
                observer_type=dicom_codes.DCM.Device,
                observer_identifying_attributes=sr.DeviceObserverIdentifyingAttributes(
                    uid=device_uid(provenance), name=SOFTWARE, manufacturer_name=MAKER, model_name=provenance.name
                ),
            )
        ),
        procedure_reported=[codes.IMAGING],
        imaging_measurements=[_group(image, key, finding, warnings, provenance) for finding in findings],
        title=codes.MEASUREMENT_REPORT,
        language_of_content_item_and_descendants=sr.LanguageOfContentItemAndDescendants(
            sr.CodedConcept.from_code(codes.ENGLISH)
        ),
    )
    return sr.Comprehensive3DSR(
        evidence=[image],
        content=report[0],
        series_instance_uid=result_uid(provenance, key, "report series"),
        series_number=SERIES_NUMBER,
        series_description="AI findings: research, not for diagnosis",
        sop_instance_uid=report_uid(provenance, key),
        instance_number=1,
        manufacturer=MAKER,
        is_complete=True,
        coding_schemes=[coding_scheme(provenance)],
        contributing_equipment=[equipment(provenance)],
    )


def report_uid(provenance: Provenance, key: str) -> str:
    """Return the UID of the report of an image with this key."""
    return result_uid(provenance, key, "report", Comprehensive3DSRStorage)


def in_class(document: Dataset, sop_class: str) -> Dataset:
    """Return a report in another of `CLASSES`, for an archive that does not accept its class.

    All classes can hold the content. Only the class and the UID change; a retry gets the same UID.
    """
    other = copy.deepcopy(document)
    other.SOPClassUID = other.file_meta.MediaStorageSOPClassUID = UID(sop_class)
    derived = derived_uid(document.SOPInstanceUID, sop_class)
    other.SOPInstanceUID = other.file_meta.MediaStorageSOPInstanceUID = UID(derived)
    return other


def _group(
    image: Dataset, key: str, finding: tuple[Label, float, bool], warnings: Sequence[str], provenance: Provenance
) -> sr.MeasurementsAndQualitativeEvaluations:
    """Return one finding as a measurement group (PS3.16, TID 1501)."""
    label, probability, present = finding
    return sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=sr.TrackingIdentifier(
            uid=_finding_uid(provenance, key, label), identifier=f"{SOFTWARE} {label.name}"
        ),
        finding_category=codes.CLINICAL_FINDING,
        finding_type=codes.concept(label.coded),
        finding_sites=[sr.FindingSite(codes.concept(label.site))] if label.site else None,
        algorithm_id=sr.AlgorithmIdentification(
            name=SOFTWARE,
            version=software_versions(provenance)[0].removeprefix(f"{SOFTWARE} "),
            family=codes.ARTIFICIAL_INTELLIGENCE,
            manufacturer=MAKER,
            parameters=[
                *parameters(provenance),
                f"threshold={provenance.thresholds[label.name]:.{DIGITS}f}",
                f"notice={NOTICE}",
                *(f"{_WARNING}{warning}" for warning in warnings),
            ],
        ),
        measurements=[sr.Measurement(name=codes.PROBABILITY, value=probability, unit=codes.NO_UNITS)],
        qualitative_evaluations=[sr.QualitativeEvaluation(codes.PRESENCE, codes.PRESENT if present else codes.ABSENT)],
        source_images=[sr.SourceImageForMeasurementGroup(image.SOPClassUID, image.SOPInstanceUID)],
    )
