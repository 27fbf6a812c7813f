"""The structured report: every finding with probability and decision (PS3.16, TID 1500; IHE AI Results)."""

import copy
from typing import Final

from highdicom import sr
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes as dicom_codes
from pydicom.uid import UID, Comprehensive3DSRStorage, ComprehensiveSRStorage, EnhancedSRStorage

from cxr_edge.model.labels import Label
from cxr_edge.model.provenance import Provenance
from cxr_edge.model.results import NOTICE, Result
from cxr_edge.outputs.dicom import codes
from cxr_edge.outputs.dicom.finish import finished
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
from cxr_edge.support.maker import MAKER, SOFTWARE

#: The most general class for the document, and those that older archives accept instead.
CLASSES: Final = (Comprehensive3DSRStorage, ComprehensiveSRStorage, EnhancedSRStorage)
SERIES_NUMBER: Final = 9001
#: Digits of a probability: enough that different probabilities of an image stay different.
DIGITS: Final = 6


def structured_report(header: Header, result: Result, provenance: Provenance) -> Dataset:
    """Return the report of one image as Comprehensive 3D SR; see `in_class` for other classes.

    Parameters
    ----------
    header : Header
    result : Result
    provenance : Provenance

    Returns
    -------
    pydicom.Dataset
    """
    image = header.reference
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
        imaging_measurements=[_finding(header, result, label, p, provenance) for label, p in result.ranked()],
        title=codes.MEASUREMENT_REPORT,
        language_of_content_item_and_descendants=sr.LanguageOfContentItemAndDescendants(
            sr.CodedConcept.from_code(codes.ENGLISH)
        ),
    )
    document = sr.Comprehensive3DSR(
        evidence=[image],
        content=report[0],
        series_instance_uid=result_uid(provenance, header.key, "report series"),
        series_number=SERIES_NUMBER,
        series_description="AI findings: research, not for diagnosis",
        sop_instance_uid=report_uid(provenance, header.key),
        instance_number=1,
        manufacturer=MAKER,
        is_complete=True,
        coding_schemes=[coding_scheme(provenance)],
        contributing_equipment=[equipment(provenance)],
    )
    return finished(document, header, provenance)


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


def _finding(
    header: Header, result: Result, label: Label, probability: float, provenance: Provenance
) -> sr.MeasurementsAndQualitativeEvaluations:
    """Return one finding as a measurement group (PS3.16, TID 1501)."""
    image, threshold = header.reference, provenance.thresholds[label.name]
    return sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=sr.TrackingIdentifier(
            uid=result_uid(provenance, header.key, "finding", label.name), identifier=f"{SOFTWARE} {label.name}"
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
                f"threshold={threshold:.{DIGITS}f}",
                f"notice={NOTICE}",
                *(f"warning={warning}" for warning in result.warnings),
            ],
        ),
        measurements=[sr.Measurement(name=codes.PROBABILITY, value=round(probability, DIGITS), unit=codes.NO_UNITS)],
        qualitative_evaluations=[
            sr.QualitativeEvaluation(codes.PRESENCE, codes.PRESENT if probability >= threshold else codes.ABSENT)
        ],
        source_images=[sr.SourceImageForMeasurementGroup(image.SOPClassUID, image.SOPInstanceUID)],
    )
