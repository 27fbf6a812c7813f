"""How the patient stands in the image, by Patient Orientation (PS3.3, C.7.6.1.1.1).

Its two values state to which part of the patient the rows and the columns run. Of a frontal image shown as usual, rows
run to the patient's left and columns to the feet: L and F. Finer directions (LF) follow the main one, which stands
first.
"""

import re
from typing import Final

from cxr_edge.images.dicom.header import tags
from cxr_edge.images.dicom.header.elements import Elements

#: Directions in a patient who stands on two feet.
_DIRECTION: Final = re.compile(r"[AHFLPR]{1,3}")
_AXES: Final = {"L": "across", "R": "across", "A": "depth", "P": "depth", "H": "height", "F": "height"}
#: Main directions of rows and columns → what is wrong with the image.
_PROBLEMS: Final[dict[tuple[str, ...], str]] = {
    ("R", "F"): "mirrored",
    ("L", "H"): "mirrored and turned by 180°",
    ("R", "H"): "turned by 180°",
    ("H", "L"): "turned by 90 degrees",
    ("F", "R"): "turned by 90 degrees",
    ("H", "R"): "mirrored and turned by 90 degrees",
    ("F", "L"): "mirrored and turned by 90 degrees",
}


def shows_depth(elements: Elements) -> bool:
    """Return whether a row or a column runs from front to back or back to front: the image is not frontal."""
    return bool({"A", "P"} & set(_main_directions(elements)))


def orientation_problem(elements: Elements) -> str | None:
    """Return how the image is turned or mirrored; None if it is upright, or the header does not state it."""
    directions = _main_directions(elements)
    if shows_depth(elements):
        return "upside down" if directions[1:] == ("H",) else None
    return _PROBLEMS.get(directions)


def states_no_orientation(elements: Elements) -> bool:
    """Return whether there is a Patient Orientation, but not of two directions that cross each other."""
    directions = _main_directions(elements)
    axes = {_AXES[direction] for direction in directions if direction}
    return elements.text(tags.PATIENT_ORIENTATION) != "" and (len(directions) != 2 or len(axes) != 2)


def _main_directions(elements: Elements) -> tuple[str, ...]:
    """Return the main directions of rows and columns; empty text for one that is none in a patient."""
    values = [value.strip().upper() for value in elements.text(tags.PATIENT_ORIENTATION).split("\\")]
    return tuple(value[0] if _DIRECTION.fullmatch(value) else "" for value in values)
