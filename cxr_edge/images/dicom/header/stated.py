"""What a header states of patient and view that the image shows, too: a wrong one may belong to another patient."""

import re
from dataclasses import dataclass
from typing import Final

from cxr_edge.images.dicom.header import tags
from cxr_edge.images.dicom.header.elements import Elements

#: Age String (PS3.5, 6.2): a number of days, weeks, months or years → years.
_AGE: Final = re.compile(r"(\d{1,3})([DWMY])")
_YEARS: Final = {"D": 1 / 365.25, "W": 7 / 365.25, "M": 1 / 12, "Y": 1.0}


@dataclass(frozen=True, repr=False)
class Stated:
    """What a header states; None where it does not. It is not printed: it is a patient's.

    Attributes
    ----------
    view : str or None
        ``PA`` or ``AP``.
    sex : str or None
        ``F`` or ``M``.
    age : float or None
        Years, at the time of the study.
    """

    view: str | None
    sex: str | None
    age: float | None

    def __repr__(self) -> str:
        return "<what a header states of its patient>"


def stated_by(elements: Elements) -> Stated:
    """Read what a header states; other values than those of `Stated` count as none."""
    view, sex = elements.text(tags.VIEW_POSITION).upper(), elements.text(tags.PATIENT_SEX).upper()
    age = _AGE.fullmatch(elements.text(tags.PATIENT_AGE).upper())
    return Stated(
        view if view in ("PA", "AP") else None,
        sex if sex in ("F", "M") else None,
        int(age[1]) * _YEARS[age[2]] if age else None,
    )
