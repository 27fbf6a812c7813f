"""Codes in results, besides those of the labels, which the bundle contains.

SCT is SNOMED CT; DCM is DICOM's own terms (PS3.16, annex D). A label without a code in the bundle gets one in a private
scheme, which every object that uses it declares.
"""

from typing import Final

from pydicom.sr.coding import Code

from cxr_edge.model import labels

#: The private scheme of this project.
SCHEME: Final = labels.PRIVATE_SCHEME
SCHEME_NAME: Final = "cxr-edge: terms for findings of a chest X-ray model"

CLINICAL_FINDING: Final = Code("404684003", "SCT", "Clinical finding")
#: Its value is `PRESENT` or `ABSENT`, at the operating point among the algorithm's parameters.
PRESENCE: Final = Code("121052", "DCM", "Presence of property")
#: PS3.16, CID 240.
PRESENT: Final = Code("52101004", "SCT", "Present")
ABSENT: Final = Code("272519000", "SCT", "Absent")
PROBABILITY: Final = Code("122157", "DCM", "Probability")
NO_UNITS: Final = Code("1", "UCUM", "no units")
ARTIFICIAL_INTELLIGENCE: Final = Code("123110", "DCM", "Artificial Intelligence")
#: The procedure of the image (PS3.16, CID 100, which has no more specific one).
IMAGING: Final = Code("363679005", "SCT", "Imaging procedure")
MEASUREMENT_REPORT: Final = Code("126000", "DCM", "Imaging Measurement Report")
OF_INTEREST: Final = Code("113000", "DCM", "Of Interest")
PROCESSING_EQUIPMENT: Final = Code("109102", "DCM", "Processing Equipment")
ENGLISH: Final = Code("en", "RFC5646", "English")


def concept(code: labels.Code) -> Code:
    """Return a label's code as a pydicom code."""
    return Code(code.value, code.scheme, code.meaning)
