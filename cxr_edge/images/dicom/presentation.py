"""Map stored values to 8-bit grey levels as the header specifies, by one table.

An image stores at most 16 bits, so everything between a stored value and its grey level (modality
LUT, VOI LUT or window, inversion, padding; PS3.3, C.11 and C.7.6.3, PS3.4, N.2) is computed once for
each of the at most 65,536 stored patterns and then looked up.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from cxr_edge.errors import InvalidHeader
from cxr_edge.images.dicom import tags
from cxr_edge.images.dicom.elements import Elements
from cxr_edge.images.dicom.layout import Layout
from cxr_edge.support.warnings import CodedWarning

Values = npt.NDArray[np.float64]
Table = npt.NDArray[np.uint8]
Patterns = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]

#: Without a window, an image whose levels span less than this share of the range of its bits is stretched.
STRETCH_BELOW: Final = 0.25
#: Percentiles of its pixels that it is stretched to: a marker or a hot pixel must not decide.
STRETCH_TO: Final = (0.5, 99.5)
#: Every so many rows and columns, one pixel is sampled for the percentiles.
_STRIDE: Final = 4


@dataclass(frozen=True)
class LookUp:
    """A look-up table as it is encoded (PS3.3, C.11.1.1).

    Attributes
    ----------
    count : int
        Entries; 0 means 65,536.
    first : int
        The first value mapped.
    bits : int
        Bits of an entry.
    data : bytes
        16-bit words, little endian.
    """

    count: int
    first: int
    bits: int
    data: bytes

    @property
    def packed(self) -> bool:
        """Return whether a word contains two entries of 8 bits."""
        return len(self.data) < 2 * (self.count or 65536)


@dataclass(frozen=True)
class Rescale:
    """A linear modality transformation (PS3.3, C.11.1)."""

    slope: float
    intercept: float


@dataclass(frozen=True)
class Window:
    """A window as it was used (PS3.3, C.11.2.1.2); `function` is LINEAR or SIGMOID."""

    center: float
    width: float
    function: str = "LINEAR"

    @classmethod
    def over(cls, low: float, high: float) -> "Window":
        """Return the linear window that shows the low value black and the high value white."""
        return cls((low + high) / 2 + 0.5, high - low + 1)


@dataclass(frozen=True)
class Display:
    """How an image's stored values became grey levels, by the header or by default.

    Attributes
    ----------
    modality : LookUp or Rescale
    voi : LookUp or Window
    signed : bool
        Stored values may be negative.
    signed_output : bool
        Values after the modality transformation may be negative.
    inverse : bool
        The lowest value is shown white.
    """

    modality: LookUp | Rescale
    voi: LookUp | Window
    signed: bool
    signed_output: bool
    inverse: bool


def to_grey(
    patterns: Patterns, elements: Elements, layout: Layout, *, low_bit: int
) -> tuple[npt.NDArray[np.uint8], Display, CodedWarning]:
    """Map an image to grey levels as its header specifies.

    Parameters
    ----------
    patterns : ndarray, (H, W) uint8 or uint16
        Bits of the pixels as stored.
    elements : Elements
    layout : Layout
    low_bit : int
        Position of the lowest stored bit in a pattern.

    Returns
    -------
    grey : ndarray, (H, W) uint8
        Bone is bright, padding black.
    display : Display
    path : CodedWarning
        Warning that describes how the levels were mapped, and any deviation.

    Raises
    ------
    InvalidHeader
    """
    stored = _stored_values(layout, low_bit)
    padding = _padding(stored, elements, layout)
    values, extremes, modality = _modality(stored, elements, layout)
    shown, voi, path = _values_of_interest(values, extremes, elements, layout, lambda: _used(patterns, values, padding))
    photometric, shape = layout.photometric, elements.text(tags.PRESENTATION_LUT_SHAPE)
    inverse = photometric == "MONOCHROME1" or shape == "INVERSE"
    if inverse:
        shown = 1 - shown
        path += f", inverted ({photometric})"
    table = np.rint(shown * 255).astype(np.uint8)
    table[padding] = 0
    grey = cv2.LUT(patterns, table) if patterns.dtype == np.uint8 else table[patterns]
    display = Display(modality, voi, layout.signed, extremes[0] < 0, inverse)
    return np.asarray(grey, dtype=np.uint8), display, CodedWarning("grey_levels", f"DICOM: grey levels {path}")


def _stored_values(layout: Layout, low_bit: int) -> npt.NDArray[np.int64]:
    """Return the stored value of each pattern of the bits allocated."""
    bits = layout.bits_stored
    values = (np.arange(2**layout.bits_allocated, dtype=np.int64) >> low_bit) & (2**bits - 1)
    return np.asarray(values - ((values >> (bits - 1)) << bits) if layout.signed else values)


def _padding(stored: npt.NDArray[np.int64], elements: Elements, layout: Layout) -> npt.NDArray[np.bool_]:
    """Return which patterns are padding (PS3.3, C.7.5.1.1.2)."""
    value = elements.words(tags.PADDING_VALUE, signed=layout.signed)
    if not value:
        return np.zeros(stored.shape, dtype=np.bool_)
    limit = elements.words(tags.PADDING_LIMIT, signed=layout.signed) or value
    low, high = sorted((value[0], limit[0]))
    return (stored >= low) & (stored <= high)


def _modality(
    stored: npt.NDArray[np.int64], elements: Elements, layout: Layout
) -> tuple[Values, tuple[float, float], LookUp | Rescale]:
    """Apply the modality LUT or rescale (PS3.3, C.11.1); also return the extremes of the values."""
    if luts := elements.items(tags.MODALITY_LUT):
        entries, lut = _lut(luts[0], signed=layout.signed)
        return _look_up(entries, lut.first, stored), (0.0, 2.0**lut.bits - 1), lut
    slope = _one(elements, tags.RESCALE_SLOPE, 1.0)
    intercept = _one(elements, tags.RESCALE_INTERCEPT, 0.0)
    if slope == 0 or not np.isfinite([slope, intercept]).all():
        raise InvalidHeader(
            "expected a finite Rescale Slope other than 0 and a finite Rescale Intercept, got other values; "
            "export the image again"
        )
    low = -(2 ** (layout.bits_stored - 1)) if layout.signed else 0
    ends = sorted(slope * end + intercept for end in (low, low + 2**layout.bits_stored - 1))
    values = np.asarray(stored * slope + intercept, dtype=np.float64)
    return values, (ends[0], ends[1]), Rescale(slope, intercept)


def _values_of_interest(
    values: Values,
    extremes: tuple[float, float],
    elements: Elements,
    layout: Layout,
    used: Callable[[], tuple[float, float]],
) -> tuple[Values, LookUp | Window, str]:
    """Apply the VOI LUT, the first window, or the rule without either; return values from 0 to 1, and the way taken."""
    if luts := elements.items(tags.VOI_LUT):
        entries, lut = _lut(luts[0], signed=extremes[0] < 0)
        shown = np.clip(_look_up(entries, lut.first, np.rint(values)) / (2.0**lut.bits - 1), 0, 1)
        return shown, lut, "by the header's VOI LUT"
    function = elements.text(tags.VOI_LUT_FUNCTION) or "LINEAR"
    center, width = elements.decimals(tags.WINDOW_CENTER), elements.decimals(tags.WINDOW_WIDTH)
    ignored = ""
    if center and width:
        if function in _WINDOWS and np.isfinite([center[0], width[0]]).all() and width[0] >= _least_width(function):
            windowed = _WINDOWS[function](values, center[0], width[0])
            path = f"by the header's window (center {center[0]:g}, width {width[0]:g}, {function})"
            return windowed, _window(center[0], width[0], function), path
        ignored = "; the header's window breaks the Standard's rule and was left out"
    low, high = extremes
    if layout.bits_stored > 8:
        from_, to = used()
        if to - from_ < STRETCH_BELOW * (high - low):
            share = (to - from_) / (high - low)
            path = f"stretched, as they use {share:.0%} of the {layout.bits_stored} bits and the header has no window"
            return _ramp(values, from_, to), Window.over(from_, to), path + ignored
    path = f"over the whole range of {layout.bits_stored} bits, without a window"
    return _ramp(values, low, high), Window.over(low, high), path + ignored


def _used(patterns: Patterns, values: Values, padding: npt.NDArray[np.bool_]) -> tuple[float, float]:
    """Return the values between which nearly all pixels lie, padding excluded."""
    counts = np.bincount(patterns[::_STRIDE, ::_STRIDE].ravel(), minlength=len(values))
    counts[padding] = 0
    order = np.argsort(values, kind="stable")
    reached = np.cumsum(counts[order])
    low, high = (np.searchsorted(reached, share / 100 * reached[-1], side="right") for share in STRETCH_TO)
    last = len(values) - 1
    return float(values[order[min(low, last)]]), float(values[order[min(high, last)]])


def _window(center: float, width: float, function: str) -> Window:
    """Return a window with its function; LINEAR_EXACT as the equivalent LINEAR, which every viewer supports."""
    if function == "LINEAR_EXACT":
        return Window.over(center - width / 2, center + width / 2)
    return Window(center, width, function)


def _ramp(values: Values, low: float, high: float) -> Values:
    return np.clip((values - low) / max(high - low, 1e-9), 0, 1)


def _linear(values: Values, center: float, width: float) -> Values:
    """Apply a LINEAR window (PS3.3, C.11.2.1.2.1)."""
    if width == 1:
        return (values > center - 0.5).astype(np.float64)
    return np.clip((values - (center - 0.5)) / (width - 1) + 0.5, 0, 1)


def _linear_exact(values: Values, center: float, width: float) -> Values:
    """Apply a LINEAR_EXACT window (PS3.3, C.11.2.1.3.2)."""
    return np.clip((values - center) / width + 0.5, 0, 1)


def _sigmoid(values: Values, center: float, width: float) -> Values:
    """Apply a SIGMOID window (PS3.3, C.11.2.1.3.1); the exponent is bounded so that it cannot overflow."""
    return 1 / (1 + np.exp(np.clip(-4 * (values - center) / width, -700, 700)))


_WINDOWS: Final[dict[str, Callable[[Values, float, float], Values]]] = {
    "LINEAR": _linear,
    "LINEAR_EXACT": _linear_exact,
    "SIGMOID": _sigmoid,
}


def _least_width(function: str) -> float:
    return 1.0 if function == "LINEAR" else float(np.finfo(np.float32).tiny)


def _one(elements: Elements, tag: int, default: float) -> float:
    values = elements.decimals(tag)
    return values[0] if values else default


def _lut(item: Elements, *, signed: bool) -> tuple[Values, LookUp]:
    """Return a table of an item: its entries, and as it is encoded (PS3.3, C.11.1.1)."""
    descriptor = item.words(tags.LUT_DESCRIPTOR)
    if len(descriptor) != 3:
        raise InvalidHeader(f"expected three numbers in LUT Descriptor, got {len(descriptor)}; export the image again")
    count, first, bits = descriptor[0] or 65536, descriptor[1], descriptor[2]
    if not 8 <= bits <= 16:
        raise InvalidHeader(f"expected a look-up table with 8 to 16 bits per entry, got {bits}; export the image again")
    entries = np.array(item.words(tags.LUT_DATA), dtype=np.float64)
    words = entries.astype("<u2")
    if 2 * len(words) in (count, count + 1):  # 8-bit entries, two per word
        entries = words.view(np.uint8)[:count].astype(np.float64)
    if len(entries) != count:
        raise InvalidHeader(f"expected a look-up table of {count} entries, got {len(entries)}; export the image again")
    first = first - 65536 if signed and first >= 32768 else first
    return entries, LookUp(descriptor[0], first, bits, words.tobytes())


def _look_up(lut: Values, first: int, values: npt.NDArray[np.int64] | Values) -> Values:
    return lut[np.clip(values - first, 0, len(lut) - 1).astype(np.int64)]
