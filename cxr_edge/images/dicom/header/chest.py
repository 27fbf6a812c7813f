"""Check that the subject which a DICOM header describes is an upright frontal image of the chest."""

from typing import Final

from cxr_edge.errors import FrontalView, InputError, LateralView, NotAChestImage, WrongOrientation
from cxr_edge.images.dicom.header import tags
from cxr_edge.images.dicom.header.elements import Elements
from cxr_edge.images.dicom.header.orientation import orientation_problem, shows_depth, states_no_orientation
from cxr_edge.images.dicom.header.remarks import LEFT_OUT
from cxr_edge.images.limits import View
from cxr_edge.support.warnings import CodedWarning

#: Modalities of radiographs, and the values found in captures (PS3.3, C.7.3.1.1.1).
RADIOGRAPHS: Final = frozenset({"CR", "DX", "RF", "XA", "RG", "OT", "SC", ""})
#: Parts of the body that a chest radiograph shows (PS3.16, annex L), and spellings that scanners write.
CHEST_PARTS: Final = frozenset({"CHEST", "THORAX", "LUNG", "LUNGS", "RIB", "RIBS", "HEART", "CHESTABDOMEN", ""})
#: Codes of the same regions (PS3.16, CID 4031): SNOMED CT, and SNOMED RT as older images have it.
CHEST_CODES: Final = frozenset(
    {("SCT", "51185008"), ("SCT", "39607008"), ("SCT", "113197003"), ("SCT", "80891009"), ("SCT", "416775004")}
    | {(old, code) for old in ("SRT", "SNM3", "99SDM") for code in ("T-D3000", "T-28000", "T-11300", "T-32000")}
)
#: View positions of an image from the front or the back (PS3.3, C.8.7.1.1.1); others are lateral, oblique or special.
FRONTAL: Final = frozenset({"PA", "AP", ""})
#: Sides of the body (PS3.3, C.7.3.1.1.2); a frontal chest radiograph shows both.
ONE_SIDE: Final = frozenset({"L", "R"})
#: Codes of lateral and oblique views (PS3.16, CID 4010 and CID 4014).
LATERAL_CODES: Final = frozenset(
    {"399067008", "399098007", "399173006", "399352003", "399110001", "399136003", "399089007", "399108003"}
    | {"R-10206", "R-10228", "R-10232", "R-10234", "R-10236", "R-10230", "R-10220", "R-10222"}
)


def subject_warnings(elements: Elements, view: View | None, *, strict: bool) -> tuple[CodedWarning, ...]:
    """Return a warning for each sign in a header that the image is not an upright chest radiograph of a view.

    A Patient Orientation that cannot be read gives a warning, too, with `strict` as without.

    Parameters
    ----------
    elements : Elements
    view : {'frontal', 'lateral'} or None
        None for either.
    strict : bool
        Raise an error for the first sign instead.

    Raises
    ------
    NotAChestImage, LateralView, FrontalView, WrongOrientation
        Only with `strict`.
    """
    problems: list[tuple[type[InputError], str]] = []
    if elements.text(tags.MODALITY) not in RADIOGRAPHS:
        problems.append((NotAChestImage, "its Modality is none of a radiograph"))
    if _names_another_part(elements):
        problems.append((NotAChestImage, "its header names another part of the body than the chest"))
    if view == "frontal" and _names_another_view(elements):
        problems.append((LateralView, "its header names a view that is not frontal (PA or AP), or one side only"))
    if view == "lateral" and elements.text(tags.VIEW_POSITION).upper() in FRONTAL - {""}:
        problems.append((FrontalView, "its header names a frontal view (PA or AP)"))
    if problem := orientation_problem(elements):
        problems.append((WrongOrientation, f"by its Patient Orientation it is {problem}"))
    known = f"upright {view} chest radiograph" if view else "upright chest radiograph"
    if strict and problems:
        kind, problem = problems[0]
        raise kind(f"expected an {known}, but {problem}; turn strict off to read it with a warning")
    warnings = [
        CodedWarning(kind.code, f"DICOM: {problem}: the model knows {known}s only") for kind, problem in problems
    ]
    if states_no_orientation(elements):
        message = "DICOM: the Patient Orientation cannot be read and was left out; check that the image is upright"
        warnings.append(CodedWarning(LEFT_OUT, message))
    return tuple(warnings)


def view_of(elements: Elements) -> View:
    """Return the view that a header names: what is not frontal counts as lateral, what it leaves open as frontal."""
    return "lateral" if _names_another_view(elements) else "frontal"


def _names_another_part(elements: Elements) -> bool:
    part = elements.text(tags.BODY_PART).upper().replace(" ", "")
    codes = {
        (item.text(tags.CODING_SCHEME), item.text(tags.CODE_VALUE)) for item in elements.items(tags.ANATOMIC_REGION)
    }
    if part:
        return part not in CHEST_PARTS
    return bool(codes) and not codes & CHEST_CODES


def _names_another_view(elements: Elements) -> bool:
    view = elements.text(tags.VIEW_POSITION).upper()
    if view not in FRONTAL:
        return True
    side = elements.text(tags.IMAGE_LATERALITY) or elements.text(tags.LATERALITY)
    if not view and side.upper() in ONE_SIDE:  # scanners write a side with PA, too; the view is more reliable
        return True
    if any(item.text(tags.CODE_VALUE) in LATERAL_CODES for item in elements.items(tags.VIEW_CODE)):
        return True
    return shows_depth(elements)
