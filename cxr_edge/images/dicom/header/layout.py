"""Read the layout of a DICOM image's pixels, and refuse every layout that is not a radiograph's."""

from dataclasses import dataclass
from enum import Enum
from typing import Final

from cxr_edge import errors
from cxr_edge.errors import ForProcessing, InvalidHeader, MultiFrame, UnsupportedObject
from cxr_edge.images.dicom.header import tags
from cxr_edge.images.dicom.header.elements import Elements, name_of
from cxr_edge.images.dicom.header.kinds import class_name
from cxr_edge.images.limits import InputLimits

#: The kinds of object that contain a radiograph (PS3.4, B.5).
COMPUTED_RADIOGRAPHY: Final = "1.2.840.10008.5.1.4.1.1.1"
DIGITAL_X_RAY: Final = "1.2.840.10008.5.1.4.1.1.1.1"
DIGITAL_X_RAY_FOR_PROCESSING: Final = "1.2.840.10008.5.1.4.1.1.1.1.1"
SECONDARY_CAPTURE: Final = "1.2.840.10008.5.1.4.1.1.7"
_READ: Final = {
    COMPUTED_RADIOGRAPHY: "Computed Radiography",
    DIGITAL_X_RAY: "Digital X-Ray for presentation",
    SECONDARY_CAPTURE: "Secondary Capture",
}
_MULTI_FRAME_CAPTURE: Final = SECONDARY_CAPTURE + "."

GREY: Final = ("MONOCHROME1", "MONOCHROME2")
RGB: Final = ("RGB", "YBR_ICT", "YBR_RCT")
LUMA_CHROMA: Final = ("YBR_FULL", "YBR_FULL_422")


class ColourSpace(Enum):
    """What the three samples of a pixel are."""

    RGB = "red, green and blue"
    LUMA_CHROMA = "luma and chroma"


@dataclass(frozen=True)
class Layout:
    """The Image Pixel module (PS3.3, C.7.6.3).

    Attributes
    ----------
    rows, columns : int
    samples : int
        1, or 3 for grey that is stored as colour.
    photometric : str
    planar : bool
        Samples are stored plane by plane.
    bits_allocated : int
        8 or 16.
    bits_stored : int
        8 to 16.
    high_bit : int
        Position of the highest stored bit.
    signed : bool
    """

    rows: int
    columns: int
    samples: int
    photometric: str
    planar: bool
    bits_allocated: int
    bits_stored: int
    high_bit: int
    signed: bool

    @property
    def count(self) -> int:
        """Number of samples of the image."""
        return self.rows * self.columns * self.samples

    @property
    def bytes(self) -> int:
        """Number of bytes of the image, uncompressed."""
        return self.count * self.bits_allocated // 8

    @property
    def low_bit(self) -> int:
        """Position of the lowest stored bit."""
        return self.high_bit + 1 - self.bits_stored

    @property
    def colours(self) -> ColourSpace:
        """What three samples are by the Photometric Interpretation."""
        return ColourSpace.LUMA_CHROMA if self.photometric in LUMA_CHROMA else ColourSpace.RGB


def read_layout(elements: Elements, limits: InputLimits) -> Layout:
    """Read the layout from a header and check that it is supported.

    Raises
    ------
    UnsupportedObject, ForProcessing, MultiFrame, Colour, InvalidHeader, TooLarge, TooSmall
    """
    _check_object(elements)
    samples = elements.word(tags.SAMPLES_PER_PIXEL, default=1)
    layout = Layout(
        rows=elements.word(tags.ROWS),
        columns=elements.word(tags.COLUMNS),
        samples=samples,
        photometric=elements.text(tags.PHOTOMETRIC),
        planar=samples > 1 and _flag(elements, tags.PLANAR_CONFIGURATION),
        bits_allocated=elements.word(tags.BITS_ALLOCATED),
        bits_stored=elements.word(tags.BITS_STORED),
        high_bit=elements.word(tags.HIGH_BIT, default=elements.word(tags.BITS_STORED) - 1),
        signed=_flag(elements, tags.PIXEL_REPRESENTATION),
    )
    limits.check_size(layout.columns, layout.rows)
    _check_samples(layout)
    _check_bits(layout)
    return layout


def _flag(elements: Elements, tag: int) -> bool:
    value = elements.word(tag, default=0)
    if value > 1:
        raise InvalidHeader(f"expected 0 or 1 in {name_of(tag)}, got {value}; export the image again")
    return value == 1


def _check_object(elements: Elements) -> None:
    kind = elements.text(tags.SOP_CLASS_UID)
    intent = elements.text(tags.PRESENTATION_INTENT)
    if kind == DIGITAL_X_RAY_FOR_PROCESSING or intent == "FOR PROCESSING":
        raise ForProcessing(
            "expected an image for presentation, got raw detector values (for processing); "
            "send the image that the scanner shows"
        )
    if kind.startswith(_MULTI_FRAME_CAPTURE) or _frames(elements) != 1:
        raise MultiFrame("expected one image, got a multi-frame object; send single frames")
    if kind not in _READ:
        got = class_name(kind) or "an unknown class of object"
        raise UnsupportedObject(f"expected {', '.join(_READ.values())}, got {got}; send a radiograph")


def _frames(elements: Elements) -> float:
    """Return the number of frames; some writers state 0 for the one image."""
    frames = elements.decimals(tags.NUMBER_OF_FRAMES) or (1.0,)
    return frames[0] or 1.0


def _check_samples(layout: Layout) -> None:
    expected = GREY if layout.samples == 1 else RGB + LUMA_CHROMA if layout.samples == 3 else ()
    if layout.photometric == "PALETTE COLOR":
        raise errors.Colour("expected a grey image, got palette colours; send the radiograph itself")
    if layout.photometric not in expected:
        raise InvalidHeader(
            f"expected a Photometric Interpretation of {', '.join(GREY)} with 1 sample per pixel, or of "
            f"{', '.join(RGB + LUMA_CHROMA)} with 3, got another combination, with {layout.samples} "
            "sample(s) per pixel; export the image again"
        )


def _check_bits(layout: Layout) -> None:
    allocated, stored, high = layout.bits_allocated, layout.bits_stored, layout.high_bit
    if allocated not in (8, 16) or not 8 <= stored <= allocated or not stored - 1 <= high < allocated:
        raise InvalidHeader(
            "expected 8 or 16 bits allocated, 8 to 16 of them stored, and a High Bit that fits, got "
            f"{allocated} allocated, {stored} stored, High Bit {high}; export the image again"
        )
    if layout.samples == 3 and (allocated != 8 or layout.signed):
        raise InvalidHeader(
            f"expected 8 bits allocated, unsigned, with three samples per pixel, got {allocated} bits"
            f"{', signed' if layout.signed else ''}; export the image again"
        )
