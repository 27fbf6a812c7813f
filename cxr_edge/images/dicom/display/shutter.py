"""The display shutter of a header (PS3.3, C.7.6.11): what a viewer covers, and does not show."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt
from pydicom.datadict import dictionary_VM

from cxr_edge.errors import InvalidHeader
from cxr_edge.images.dicom.header import tags
from cxr_edge.images.dicom.header.elements import Elements, name_of
from cxr_edge.images.dicom.header.pixel_shape import pixel_shape
from cxr_edge.images.dicom.header.remarks import Remarks

#: True where the image is visible, (H, W).
Visible = npt.NDArray[np.bool_]
#: Values of the attributes that locate a shutter, in the order of `tags.SHUTTERS`.
Places = tuple[tuple[int, ...], ...]

#: Rows and columns are 16-bit numbers, counted from 1.
_MOST_PIXELS: Final = 2**16


@dataclass(frozen=True)
class Shutter:
    """A display shutter as it was applied.

    Attributes
    ----------
    places : mapping of str to tuple of tuple of int
        Shape → values of the attributes that locate it. What any of them covers is covered.
    level : int
        Grey level of the cover, 0 (black) to 65,535 (white).
    """

    places: Mapping[str, Places]
    level: int

    def cover(self, grey: npt.NDArray[np.uint8], visible: Visible) -> None:
        """Cover an image in place, (H, W) uint8, where it is not visible."""
        grey[~visible] = round(self.level * 255 / (_MOST_PIXELS - 1))


def read_shutter(elements: Elements, size: tuple[int, int], remarks: Remarks) -> tuple[Shutter, Visible] | None:
    """Read the display shutter; None if there is none that can be used.

    Parameters
    ----------
    elements : Elements
    size : (int, int)
        Rows and columns of the image.
    remarks : Remarks
        Gets a warning for each shutter that is applied or left out.
    """
    if not (kinds := _kinds(elements)):
        return None
    visible = np.ones(size, np.bool_)
    places: dict[str, Places] = {}
    for kind in kinds:
        with remarks.leaving_out(f"the display shutter{f' ({kind})' if kind else ''}"):
            places[kind], shown = _read(kind, elements, size)
            visible &= shown
    if not places:
        return None
    with remarks.leaving_out("the display shutter"):
        if not visible.any():
            raise InvalidHeader("expected shutters that leave part of the image visible, got others; check them")
        shutter = Shutter(places, _level(elements, remarks))
        if not visible.all():
            remarks.add(
                "shutter",
                f"the header's display shutter ({', '.join(places)}) was applied: {1 - visible.mean():.0%} of the "
                "image is covered",
            )
        return shutter, visible
    return None


def _kinds(elements: Elements) -> list[str]:
    """Return the shapes of a header, with one of no name for all that are none of the Standard's."""
    stated = {kind.strip() for kind in elements.text(tags.SHUTTER_SHAPE).split("\\")} - {""}
    known = [kind for kind in tags.SHUTTERS if kind in stated]
    return known if len(known) == len(stated) else [*known, ""]


def _level(elements: Elements, remarks: Remarks) -> int:
    with remarks.leaving_out("the grey level of the display shutter"):
        return elements.word(tags.SHUTTER_VALUE, default=0) % _MOST_PIXELS
    return 0


def _read(kind: str, elements: Elements, size: tuple[int, int]) -> tuple[Places, Visible]:
    """Return where a shutter is, and what it leaves visible."""
    if not kind:
        raise InvalidHeader(
            f"expected {', '.join(tags.SHUTTERS)} in {name_of(tags.SHUTTER_SHAPE)}, got another shape; export the "
            "image again"
        )
    places = tuple(_whole_numbers(elements, tag) for tag in tags.SHUTTERS[kind])
    shown = np.zeros(size, np.uint8)
    _OPENINGS[kind](shown, places, pixel_shape(elements).aspect)
    if not shown.any():
        raise InvalidHeader("expected a shutter that leaves part of the image visible, got another; check it")
    return places, shown.view(np.bool_)


def _whole_numbers(elements: Elements, tag: int) -> tuple[int, ...]:
    values = elements.decimals(tag)
    if not values or not all(abs(value) < _MOST_PIXELS for value in values):
        raise InvalidHeader(
            f"expected pixel positions below {_MOST_PIXELS} in {name_of(tag)}, got other values; export the image again"
        )
    return tuple(map(round, values[:1] if dictionary_VM(tag) == "1" else values))


def _rectangle(shown: npt.NDArray[np.uint8], places: Places, _aspect: float) -> None:
    """Open what lies between the edges.

    The Standard does not say whether an edge itself is covered. It is, except at the border of the image: a line of the
    image less is nothing, but a bright line beyond it is seen by the network.
    """
    left, right, upper, lower = (place[0] for place in places)
    rows, columns = _between(upper, lower, shown.shape[0]), _between(left, right, shown.shape[1])
    shown[rows, columns] = 1


def _between(first: int, last: int, count: int) -> slice:
    """Return what is between two lines of so many; they are counted from 1."""
    return slice(first if first > 1 else 0, max(last - 1, 0) if last < count else count)


def _circle(shown: npt.NDArray[np.uint8], places: Places, aspect: float) -> None:
    """Open a circle; its radius is a number of pixels along a row."""
    center, (radius, *_) = places
    if len(center) != 2 or radius <= 0:
        raise InvalidHeader(
            "expected a row and a column for the center of the shutter and a radius above 0, got "
            f"{len(center)} number(s) and {radius}; export the image again"
        )
    rows, columns = np.arange(1, shown.shape[0] + 1)[:, None], np.arange(1, shown.shape[1] + 1)[None]
    rest = radius**2 - ((rows - center[0]) * aspect) ** 2
    reach = np.sqrt(np.maximum(rest, 0))
    shown[:] = (rest >= 0) & (columns >= center[1] - reach) & (columns <= center[1] + reach)


def _polygon(shown: npt.NDArray[np.uint8], places: Places, _aspect: float) -> None:
    """Open a polygon, given by the row and the column of each vertex; edges are included."""
    (vertices,) = places
    if len(vertices) < 6 or len(vertices) % 2:
        raise InvalidHeader(
            f"expected rows and columns of at least three vertices of the shutter, got {len(vertices)} numbers; "
            "export the image again"
        )
    rows_and_columns = np.array(vertices, np.int32).reshape(-1, 2) - 1
    cv2.fillPoly(shown, [np.ascontiguousarray(rows_and_columns[:, ::-1])], 1)


_OPENINGS: Final[dict[str, Callable[[npt.NDArray[np.uint8], Places, float], None]]] = {
    "RECTANGULAR": _rectangle,
    "CIRCULAR": _circle,
    "POLYGONAL": _polygon,
}
