"""Codes of the findings, in one table, and the other codes that results use.

SCT is SNOMED CT, DCM is DICOM's own terms (PS3.16, annex D). A finding that a context group of PS3.16
has is coded as there. The other SNOMED CT codes stand in no context group that we know of, and have not
been looked up on a terminology server. What has no code at all is in a scheme of ours, which every
object that uses it declares.
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
    group : int or None
        The context group of PS3.16 that has the finding (CID); None: none that we know of.
    """

    finding: Code
    site: Code
    group: int | None = None


#: Label of NIH ChestX-ray14 → codes. "No Finding" is none: a report says it by fourteen absent findings.
FINDINGS: Final = {
    "Atelectasis": FindingCode(Code("46621007", "SCT", "Atelectasis"), _LUNG),
    "Cardiomegaly": FindingCode(Code("8186001", "SCT", "Cardiomegaly"), _HEART),
    "Effusion": FindingCode(Code("60046008", "SCT", "Pleural effusion"), _PLEURA, 8134),
    "Infiltration": FindingCode(Code("112121", "DCM", "Infiltrate"), _LUNG, 6102),
    "Mass": FindingCode(Code("4147007", "SCT", "Mass"), _LUNG, 6102),
    "Nodule": FindingCode(Code("27925004", "SCT", "Nodule"), _LUNG, 6102),
    "Pneumonia": FindingCode(Code("233604007", "SCT", "Pneumonia"), _LUNG),
    "Pneumothorax": FindingCode(Code("36118008", "SCT", "Pneumothorax"), _PLEURA, 6102),
    "Consolidation": FindingCode(Code("95436008", "SCT", "Lung consolidation"), _LUNG),
    "Edema": FindingCode(Code("19242006", "SCT", "Pulmonary edema"), _LUNG, 3700),
    "Emphysema": FindingCode(Code("87433001", "SCT", "Pulmonary emphysema"), _LUNG),
    "Fibrosis": FindingCode(Code("51615001", "SCT", "Fibrosis of lung"), _LUNG),
    "Pleural_Thickening": FindingCode(Code("PLEURAL_THICK", SCHEME, "Pleural thickening"), _PLEURA),
    "Hernia": FindingCode(Code("84089009", "SCT", "Hiatal hernia"), _DIAPHRAGM),
}

CLINICAL_FINDING: Final = Code("404684003", "SCT", "Clinical finding")
#: Whose value is one of the two after it, at the operating point that the algorithm's parameters name.
PRESENCE: Final = Code("121052", "DCM", "Presence of property")
#: PS3.16, CID 240.
PRESENT: Final = Code("52101004", "SCT", "Present")
ABSENT: Final = Code("272519000", "SCT", "Absent")
PROBABILITY: Final = Code("122157", "DCM", "Probability")
NO_UNITS: Final = Code("1", "UCUM", "no units")
ARTIFICIAL_INTELLIGENCE: Final = Code("123110", "DCM", "Artificial Intelligence")
#: The procedure that the film is of, as PS3.16, CID 100 has it: that table names none more exactly.
IMAGING: Final = Code("363679005", "SCT", "Imaging procedure")
MEASUREMENT_REPORT: Final = Code("126000", "DCM", "Imaging Measurement Report")
OF_INTEREST: Final = Code("113000", "DCM", "Of Interest")
PROCESSING_EQUIPMENT: Final = Code("109102", "DCM", "Processing Equipment")
ENGLISH: Final = Code("en", "RFC5646", "English")
