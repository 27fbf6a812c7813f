"""Orientation and display shutter of an image's results."""

import re
from typing import Final

from pydicom.datadict import keyword_for_tag
from pydicom.dataset import Dataset

from cxr_edge.images.dicom.display.shutter import Shutter
from cxr_edge.images.dicom.header import tags
from cxr_edge.images.dicom.header.elements import Elements

#: Directions in the patient, for bipeds and quadrupeds (PS3.3, C.7.6.1.1.1).
_DIRECTION: Final = re.compile(r"[AHFLPR]{1,3}|(LE|RT|D|V|CR|CD|R|M|L|PR|DI|PA|PL){1,3}")


def orientation(elements: Elements) -> list[str]:
    """Return the directions of rows and columns in the patient; empty if the header has no valid ones."""
    directions = elements.text(tags.PATIENT_ORIENTATION).split("\\")
    return directions if len(directions) == 2 and all(map(_DIRECTION.fullmatch, directions)) else []


def put_shutter(state: Dataset, shutter: Shutter) -> None:
    """Write the display shutter that was applied (PS3.3, C.7.6.11) into a presentation state."""
    state.ShutterShape = [*shutter.places]
    for shape, places in shutter.places.items():
        for tag, numbers in zip(tags.SHUTTERS[shape], places, strict=True):
            setattr(state, keyword_for_tag(tag), [*numbers])
    state.ShutterPresentationValue = shutter.level
