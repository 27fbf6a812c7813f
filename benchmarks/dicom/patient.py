"""A patient whose values no output may contain; ``python -m benchmarks.dicom.patient FILE …`` searches for them."""

import re
import sys
from pathlib import Path

import pydicom

from benchmarks.dicom import dicom_files

PATIENT = {
    "PatientName": "Zyxwvut^Qqqarl",
    "PatientID": "QX-7731-ZZ",
    "PatientBirthDate": "19330217",
    "PatientAddress": "Nowherestrasse 99",
    "AccessionNumber": "ACC99173",
    "StudyDescription": "Zyxwvut, follow-up",
    "ReferringPhysicianName": "Grzbl^Ooo",
    "InstitutionName": "Spital Zyxwvut",
}
VALUES = ("Zyxwvut", "Qqqarl", "QX-7731", "19330217", "Nowherestrasse", "ACC99173", "Grzbl")
#: Attributes of the patients of the real images.
_KEYWORDS = ("PatientName", "PatientID", "PatientBirthDate", "AccessionNumber", "InstitutionName")


def found(text: str) -> list[str]:
    """Return the values of the patient that a text contains."""
    return [value for value in VALUES if value in text]


def _real_values() -> list[str]:
    headers = [pydicom.dcmread(path, stop_before_pixels=True) for path in (dicom_files.CHEST, dicom_files.ANKLE)]
    values = [str(header.get(keyword, "")) for header in headers for keyword in _KEYWORDS]
    return [value for value in values if value]


def search(files: list[Path]) -> list[str]:
    """Return the lines of files that contain a value of any patient of the tests."""
    values = re.compile("|".join(map(re.escape, [*VALUES, *_real_values()])))
    return [
        f"{file}:{number}: {line.strip()[:200]}"
        for file in files
        for number, line in enumerate(file.read_text(errors="replace").splitlines(), 1)
        if values.search(line)
    ]


def lines_of(files: list[Path]) -> int:
    """Return the number of lines to search."""
    return sum(len(file.read_text(errors="replace").splitlines()) for file in files)


if __name__ == "__main__":
    logs = [Path(name) for name in sys.argv[1:]]
    if lines := search(logs):
        sys.exit("\n".join(["These logs contain values of patients:", *lines]))
    sys.stdout.write(f"No value of a patient in {lines_of(logs)} lines of {len(logs)} logs; {len(VALUES)} made-up ones "
                     f"and {len(_real_values())} of real images were searched for.\n")  # fmt: skip
