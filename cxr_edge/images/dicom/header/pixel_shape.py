"""Height and width of a pixel, from an image's header."""

from dataclasses import dataclass
from typing import Final

from cxr_edge.errors import InvalidHeader
from cxr_edge.images.dicom.header import tags
from cxr_edge.images.dicom.header.elements import Elements

#: Aspect ratio from which on a pixel shape is taken for an error in the header.
_MOST_OBLONG: Final = 10.0


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
