"""Pixel shape, orientation and display shutter of an image, from its header."""

import re
from dataclasses import dataclass
from typing import Final

from pydicom.datadict import keyword_for_tag
from pydicom.dataset import Dataset

from cxr_edge.errors import InvalidHeader
from cxr_edge.images.dicom import tags
from cxr_edge.images.dicom.elements import Elements, name_of

#: Aspect ratio from which on a pixel shape is taken for an error in the header.
_MOST_OBLONG: Final = 10.0
#: Directions in the patient, for bipeds and quadrupeds (PS3.3, C.7.6.1.1.1).
_DIRECTION: Final = re.compile(r"[AHFLPR]{1,3}|(LE|RT|D|V|CR|CD|R|M|L|PR|DI|PA|PL){1,3}")
#: Rows and columns are 16-bit numbers.
_MOST_PIXELS: Final = 2**16


@dataclass(frozen=True)
class PixelShape:
    """Height and width of a pixel.

    Attributes
    ----------
    spacing : (float, float) or None
        In mm, between rows and between columns; None if the header does not state it.
    ratio : (int, int)
        Height to width, from the header's Pixel Aspect Ratio; (1, 1) without one.
    """

    spacing: tuple[float, float] | None = None
    ratio: tuple[int, int] = (1, 1)

    @property
    def aspect(self) -> float:
        """Height of a pixel, for a width of 1."""
        height, width = self.spacing or self.ratio
        return height / width


def pixel_shape(elements: Elements) -> PixelShape:
    """Read the height and width of a pixel; a spacing precedes an aspect ratio (PS3.3, C.7.6.3.1.7).

    Invalid values, and values that no detector has, are ignored.
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
    """Return the directions of rows and columns in the patient; empty if the header has no valid ones."""
    directions = elements.text(tags.PATIENT_ORIENTATION).split("\\")
    return directions if len(directions) == 2 and all(map(_DIRECTION.fullmatch, directions)) else []


def put_shutter(state: Dataset, elements: Elements) -> None:
    """Copy the image's display shutter (PS3.3, C.7.6.11) into a presentation state; it covers with black.

    Raises
    ------
    InvalidHeader
        The shutter has an unknown shape, or invalid numbers.
    """
    shapes = elements.text(tags.SHUTTER_SHAPE).split("\\")
    if shapes == [""]:
        return
    if not tags.SHUTTERS.keys() >= set(shapes):
        raise InvalidHeader(f"expected {', '.join(tags.SHUTTERS)} in {name_of(tags.SHUTTER_SHAPE)}, got another shape")
    state.ShutterShape = shapes
    for tag in (tag for shape in shapes for tag in tags.SHUTTERS[shape]):
        setattr(state, keyword_for_tag(tag), _whole_numbers(elements, tag))
    state.ShutterPresentationValue = 0


def _whole_numbers(elements: Elements, tag: int) -> list[int]:
    values = elements.decimals(tag)
    if not values or not all(abs(value) < _MOST_PIXELS for value in values):
        raise InvalidHeader(f"expected pixel positions below {_MOST_PIXELS} in {name_of(tag)}, got other values")
    return [round(value) for value in values]
