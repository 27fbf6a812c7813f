"""Codes of the findings, in one table, and the other codes that results use.

SCT is SNOMED CT, in the subset that DICOM licenses (PS3.16, 8); DCM is DICOM's own terms (PS3.16,
annex D). What neither names is in a scheme of ours, which every object that uses it declares.
"""

from dataclasses import dataclass
from typing import Final

from pydicom.sr.coding import Code

#: Our own scheme. By PS3.16, 8, the designator of a private one begins with 99.
SCHEME: Final = "99CXREDGE"
SCHEME_NAME: Final = "cxr-edge: terms for findings of a chest X-ray model"

_LUNG: Final = Code("39607008", "SCT", "Lung")
_HEART: Final = Code("80891009", "SCT", "Heart")
_PLEURA: Final = Code("3120008", "SCT", "Pleura")
_DIAPHRAGM: Final = Code("5798000", "SCT", "Diaphragm")


@dataclass(frozen=True)
class FindingCode:
    """What a label is called in DICOM.

    Attributes
    ----------
    finding : Code
    site : Code
        Where in the body it is.
    """

    finding: Code
    site: Code


#: Label of NIH ChestX-ray14 → codes. "No Finding" is none: a report says it by fourteen absent findings.
FINDINGS: Final = {
    "Atelectasis": FindingCode(Code("46621007", "SCT", "Atelectasis"), _LUNG),
    "Cardiomegaly": FindingCode(Code("8186001", "SCT", "Cardiomegaly"), _HEART),
    "Effusion": FindingCode(Code("60046008", "SCT", "Pleural effusion"), _PLEURA),
    "Infiltration": FindingCode(Code("409609008", "SCT", "Radiologic infiltrate of lung"), _LUNG),
    "Mass": FindingCode(Code("309529002", "SCT", "Lung mass"), _LUNG),
    "Nodule": FindingCode(Code("427359005", "SCT", "Solitary nodule of lung"), _LUNG),
    "Pneumonia": FindingCode(Code("233604007", "SCT", "Pneumonia"), _LUNG),
    "Pneumothorax": FindingCode(Code("36118008", "SCT", "Pneumothorax"), _PLEURA),
    "Consolidation": FindingCode(Code("95436008", "SCT", "Lung consolidation"), _LUNG),
    "Edema": FindingCode(Code("19242006", "SCT", "Pulmonary edema"), _LUNG),
    "Emphysema": FindingCode(Code("87433001", "SCT", "Pulmonary emphysema"), _LUNG),
    "Fibrosis": FindingCode(Code("51615001", "SCT", "Fibrosis of lung"), _LUNG),
    "Pleural_Thickening": FindingCode(Code("PLEURAL_THICK", SCHEME, "Pleural thickening"), _PLEURA),
    "Hernia": FindingCode(Code("84089009", "SCT", "Hiatal hernia"), _DIAPHRAGM),
}

CLINICAL_FINDING: Final = Code("404684003", "SCT", "Clinical finding")
DECISION: Final = Code("AI_DECISION", SCHEME, "Decision at operating point")
#: PS3.16, CID 240.
PRESENT: Final = Code("52101004", "SCT", "Present")
ABSENT: Final = Code("2667000", "SCT", "Absent")
PROBABILITY: Final = Code("122157", "DCM", "Probability")
NO_UNITS: Final = Code("1", "UCUM", "no units")
ARTIFICIAL_INTELLIGENCE: Final = Code("123110", "DCM", "Artificial Intelligence")
#: The procedure that the film is of, as PS3.16, CID 100 has it: that table names none more exactly.
IMAGING: Final = Code("363679005", "SCT", "Imaging procedure")
MEASUREMENT_REPORT: Final = Code("126000", "DCM", "Imaging Measurement Report")
OF_INTEREST: Final = Code("113000", "DCM", "Of Interest")
PROCESSING_EQUIPMENT: Final = Code("109102", "DCM", "Processing Equipment")
ENGLISH: Final = Code("en", "RFC5646", "English")
