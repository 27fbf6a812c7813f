"""What an image's header says of its pixels' shape, of its orientation and of what is covered of it."""

import re
from dataclasses import dataclass
from typing import Final

from pydicom.datadict import keyword_for_tag
from pydicom.dataset import Dataset

from cxr_edge.errors import InvalidHeader
from cxr_edge.images.dicom import tags
from cxr_edge.images.dicom.elements import Elements, name_of

#: A pixel that is longer than so many times its width is a slip of the header's.
_MOST_OBLONG: Final = 10.0
#: Directions in the patient, of biped and quadruped (PS3.3, C.7.6.1.1.1).
_DIRECTION: Final = re.compile(r"[AHFLPR]{1,3}|(LE|RT|D|V|CR|CD|R|M|L|PR|DI|PA|PL){1,3}")
#: Rows and columns are numbers of 16 bits.
_MOST_PIXELS: Final = 2**16


@dataclass(frozen=True)
class PixelShape:
    """Height and width of a pixel.

    Attributes
    ----------
    spacing : (float, float) or None
        In mm, between rows and between columns; None if the header does not tell.
    ratio : (int, int)
        Height to width, by the header's Pixel Aspect Ratio; 1 to 1 without one.
    """

    spacing: tuple[float, float] | None = None
    ratio: tuple[int, int] = (1, 1)

    @property
    def aspect(self) -> float:
        """Height for a width of 1."""
        height, width = self.spacing or self.ratio
        return height / width


def pixel_shape(elements: Elements) -> PixelShape:
    """Read how high and wide a pixel is; by PS3.3, C.7.6.3.1.7, a spacing goes before an aspect ratio.

    Values that are none, or that no detector has, are passed by.
    """
    for tag in (tags.PIXEL_SPACING, tags.IMAGER_PIXEL_SPACING):
        if pair := _pair(elements, tag):
            return PixelShape(spacing=pair)
    if pair := _pair(elements, tags.PIXEL_ASPECT_RATIO):
        return PixelShape(ratio=(round(pair[0]), round(pair[1])))
    return PixelShape()


def _pair(elements: Elements, tag: int) -> tuple[float, float] | None:
    try:
        values = elements.decimals(tag)
    except InvalidHeader:
        return None
    if len(values) != 2 or not 0 < min(values) <= max(values) < _MOST_OBLONG * min(values):
        return None
    return values[0], values[1]


def orientation(elements: Elements) -> list[str]:
    """Give the directions of rows and columns in the patient; empty if the header does not tell."""
    directions = elements.text(tags.PATIENT_ORIENTATION).split("\\")
    return directions if len(directions) == 2 and all(map(_DIRECTION.fullmatch, directions)) else []


def put_shutter(state: Dataset, elements: Elements) -> None:
    """Cover in a presentation state what the image's display shutter covers (PS3.3, C.7.6.11), with black.

    Raises
    ------
    InvalidHeader
        The shutter is of no kind, or its numbers are none.
    """
    shapes = elements.text(tags.SHUTTER_SHAPE).split("\\")
    if shapes == [""]:
        return
    if not tags.SHUTTERS.keys() >= set(shapes):
        raise InvalidHeader(f"expected {', '.join(tags.SHUTTERS)} in {name_of(tags.SHUTTER_SHAPE)}, got something else")
    state.ShutterShape = shapes
    for tag in (tag for shape in shapes for tag in tags.SHUTTERS[shape]):
        setattr(state, keyword_for_tag(tag), _whole_numbers(elements, tag))
    state.ShutterPresentationValue = 0


def _whole_numbers(elements: Elements, tag: int) -> list[int]:
    values = elements.decimals(tag)
    if not values or not all(abs(value) < _MOST_PIXELS for value in values):
        raise InvalidHeader(f"expected pixels of the image in {name_of(tag)}")
    return [round(value) for value in values]
