"""Map stored values to 8-bit grey levels as the header specifies, by one table.

An image stores at most 16 bits, so everything between a stored value and its grey level (modality
LUT, VOI LUT or window, inversion, padding; PS3.3, C.11 and C.7.6.3, PS3.4, N.2) is computed once for
each of the at most 65,536 stored patterns and then looked up. An attribute that cannot be used is left
out, with a warning: the rest of the header still counts.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from cxr_edge.errors import InvalidHeader
from cxr_edge.images.dicom.display.luts import LookUp, read_lut
from cxr_edge.images.dicom.display.padding import padding_of, tell_what_it_covers
from cxr_edge.images.dicom.display.shutter import Shutter, Visible, read_shutter
from cxr_edge.images.dicom.display.windows import Values, Window, ramp, read_window
from cxr_edge.images.dicom.header import tags
from cxr_edge.images.dicom.header.elements import Elements, name_of
from cxr_edge.images.dicom.header.layout import Layout
from cxr_edge.images.dicom.header.remarks import LEFT_OUT, Remarks
from cxr_edge.support.warnings import CodedWarning

Levels = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]
Grey = npt.NDArray[np.uint8]

#: Without a window, an image whose levels span less than this share of the range of its bits is stretched.
STRETCH_BELOW: Final = 0.25
#: Percentiles of its pixels that it is stretched to: a marker or a hot pixel must not decide.
STRETCH_TO: Final = (0.5, 99.5)
#: Every so many rows and columns, one pixel is sampled for the percentiles.
_STRIDE: Final = 4

#: Attributes that have a meaning for MONOCHROME1 and MONOCHROME2 alone (PS3.3, C.7.5.1.1.2, C.11.1, C.11.2.1.2).
_OF_GREY: Final = (
    tags.MODALITY_LUT, tags.RESCALE_SLOPE, tags.RESCALE_INTERCEPT, tags.VOI_LUT, tags.WINDOW_CENTER,
    tags.WINDOW_WIDTH, tags.PADDING_VALUE,
)  # fmt: skip
_VOI_LUT: Final = "the VOI LUT"
_MODALITY_LUT: Final = "the modality LUT"


@dataclass(frozen=True)
class Rescale:
    """A linear modality transformation (PS3.3, C.11.1)."""

    slope: float
    intercept: float


@dataclass(frozen=True)
class Display:
    """How an image's stored values became grey levels, by the header or by default.

    Attributes
    ----------
    modality : LookUp or Rescale
    voi : LookUp or Window
        The window is LINEAR or SIGMOID.
    signed : bool
        Stored values may be negative.
    signed_output : bool
        Values after the modality transformation may be negative.
    inverse : bool
        The lowest value is shown white.
    shutter : Shutter or None
        What was covered.
    """

    modality: LookUp | Rescale
    voi: LookUp | Window
    signed: bool
    signed_output: bool
    inverse: bool
    shutter: Shutter | None = None


@dataclass(frozen=True)
class _Header:
    """What the steps read, and where they note what they leave out."""

    elements: Elements
    layout: Layout
    remarks: Remarks


def to_grey(
    levels: Levels, elements: Elements, layout: Layout, *, low_bit: int
) -> tuple[Grey, Display | None, tuple[CodedWarning, ...]]:
    """Map an image to grey levels as its header specifies.

    Parameters
    ----------
    levels : ndarray, (H, W) uint8 or uint16
        Bits of the pixels as stored; one channel of grey that is stored as colour.
    elements : Elements
    layout : Layout
    low_bit : int
        Position of the lowest stored bit in a level.

    Returns
    -------
    grey : ndarray, (H, W) uint8
        Bone is bright; padding and what a shutter covers are black.
    display : Display or None
        None for grey that is stored as colour.
    warnings : tuple of CodedWarning
        The first describes how the levels were mapped; the others, what deviates from the header.
    """
    header = _Header(elements, layout, Remarks())
    stored = _stored_values(layout, low_bit)
    covered = read_shutter(elements, (layout.rows, layout.columns), header.remarks)
    display = None
    if layout.samples == 1:
        table, display, path = _grey_table(stored, levels, header, None if covered is None else covered[1])
    else:
        table, path = _colour_table(stored, header)
    grey = np.asarray(cv2.LUT(levels, table) if levels.dtype == np.uint8 else table[levels], dtype=np.uint8)
    if covered is not None:
        shutter, visible = covered
        shutter.cover(grey, visible)
        display = display and replace(display, shutter=shutter)
    return grey, display, (CodedWarning("grey_levels", f"DICOM: grey levels {path}"), *header.remarks.warnings)


def _stored_values(layout: Layout, low_bit: int) -> npt.NDArray[np.int64]:
    """Return the stored value of each pattern of the bits allocated."""
    bits = layout.bits_stored
    values = (np.arange(2**layout.bits_allocated, dtype=np.int64) >> low_bit) & (2**bits - 1)
    return np.asarray(values - ((values >> (bits - 1)) << bits) if layout.signed else values)


def _colour_table(stored: npt.NDArray[np.int64], header: _Header) -> tuple[Grey, str]:
    """Return the grey level of each pattern of a colour channel: the channel is what is shown."""
    ignored = [name_of(tag) for tag in _OF_GREY if header.elements.has(tag)]
    if ignored:
        header.remarks.add(LEFT_OUT, f"attributes without a meaning for colour were left out: {', '.join(ignored)}")
    shown = ramp(stored.astype(np.float64), stored.min(), stored.max())
    return np.rint(shown * 255).astype(np.uint8), "as stored in channels of colour"


def _grey_table(
    stored: npt.NDArray[np.int64], levels: Levels, header: _Header, visible: Visible | None
) -> tuple[Grey, Display, str]:
    """Return the grey level of each pattern, how it came about, and the same in words."""
    padding = padding_of(stored, header.elements, header.layout, header.remarks)
    tell_what_it_covers(padding, levels, header.remarks)
    values, extremes, modality = _modality(stored, header)
    found = _of_interest(values, extremes, header)
    if found is None:
        found = _without_window(extremes, modality, header, lambda: _used(levels, values, padding, visible))
    voi, path = found
    shown = _shown(values, voi)
    inverse = _is_inverse(header)
    if inverse:
        shown, path = 1 - shown, f"{path}, inverted ({header.layout.photometric})"
    table = np.rint(shown * 255).astype(np.uint8)
    table[padding] = 0
    linear = voi.linear if isinstance(voi, Window) else voi
    return table, Display(modality, linear, header.layout.signed, extremes[0] < 0, inverse), path


def _shown(values: Values, voi: LookUp | Window) -> Values:
    """Return what is shown of the values, from 0 (black) to 1 (white)."""
    return np.clip(voi.of(values) / voi.white, 0, 1) if isinstance(voi, LookUp) else voi.of(values)


def _modality(stored: npt.NDArray[np.int64], header: _Header) -> tuple[Values, tuple[float, float], LookUp | Rescale]:
    """Apply the modality LUT or rescale (PS3.3, C.11.1); also return the extremes of the values."""
    elements, remarks = header.elements, header.remarks
    low, high = int(stored.min()), int(stored.max())
    with remarks.leaving_out(_MODALITY_LUT):
        for item in elements.items(tags.MODALITY_LUT)[:1]:
            lut = read_lut(item, (low, high), _MODALITY_LUT, remarks)
            return _varied(lut.of(stored)), (0.0, float(lut.white)), lut
    with remarks.leaving_out("the rescale slope and intercept"):
        rescale = _read_rescale(elements, (low, high))
        first, last = sorted(rescale.slope * end + rescale.intercept for end in (low, high))
        return stored.astype(np.float64) * rescale.slope + rescale.intercept, (first, last), rescale
    return stored.astype(np.float64), (low, high), Rescale(1, 0)


def _read_rescale(elements: Elements, extremes: tuple[int, int]) -> Rescale:
    slope, intercept = (elements.first_decimal(tag) for tag in (tags.RESCALE_SLOPE, tags.RESCALE_INTERCEPT))
    rescale = Rescale(1.0 if slope is None else slope, 0.0 if intercept is None else intercept)
    ends = [rescale.slope * end + rescale.intercept for end in extremes]
    exact = np.isfinite([*ends, ends[1] - ends[0]]).all() and abs(rescale.slope) > np.spacing(np.abs(ends).max())
    if not exact:
        raise InvalidHeader(
            "expected a finite Rescale Slope other than 0 and a finite Rescale Intercept that keep the levels apart, "
            "got other values; export the image again"
        )
    return rescale


def _of_interest(values: Values, extremes: tuple[float, float], header: _Header) -> tuple[LookUp | Window, str] | None:
    """Return the header's VOI LUT or else its first window, and the same in words; None if none can be used."""
    with header.remarks.leaving_out(_VOI_LUT):
        for item in header.elements.items(tags.VOI_LUT)[:1]:
            lut = read_lut(item, extremes, _VOI_LUT, header.remarks)
            _varied(lut.of(values))
            lut.tell_bits(_VOI_LUT, header.remarks)
            return lut, "by the header's VOI LUT"
    with header.remarks.leaving_out("the window"):
        window = read_window(header.elements)
        if window is not None:
            _varied(window.of(values))
            return window, (
                f"by the header's window (center {window.center:g}, width {window.width:g}, {window.function})"
            )
    return None


def _varied(values: Values) -> Values:
    """Return values of which at least two differ."""
    if values.min() == values.max():
        raise InvalidHeader(
            "expected one that shows different levels differently, got one that shows all alike; export the image again"
        )
    return values


def _without_window(
    extremes: tuple[float, float],
    modality: LookUp | Rescale,
    header: _Header,
    used: Callable[[], tuple[float, float]],
) -> tuple[Window, str]:
    """Return the window for an image whose header has none, and the same in words."""
    low, high = extremes
    bits = header.layout.bits_stored
    if isinstance(modality, LookUp):
        modality.tell_bits(_MODALITY_LUT, header.remarks)
    if bits > 8:
        from_, to = used()
        if 0 < to - from_ < STRETCH_BELOW * (high - low):
            share = (to - from_) / (high - low)
            path = f"stretched, as they use {share:.0%} of the {bits} bits and the header has no window"
            return Window.exactly(from_, to), path
    whole = "the modality LUT" if isinstance(modality, LookUp) else f"{bits} bits"
    return Window.exactly(low, high), f"over the whole range of {whole}, without a window"


def _used(
    levels: Levels, values: Values, padding: npt.NDArray[np.bool_], visible: Visible | None
) -> tuple[float, float]:
    """Return the values between which nearly all visible pixels lie, padding excluded."""
    sampled = levels[::_STRIDE, ::_STRIDE]
    counts = np.bincount(
        sampled.ravel() if visible is None else sampled[visible[::_STRIDE, ::_STRIDE]], minlength=len(values)
    )
    counts[padding] = 0
    order = np.argsort(values, kind="stable")
    reached = np.cumsum(counts[order])
    low, high = (np.searchsorted(reached, share / 100 * reached[-1], side="right") for share in STRETCH_TO)
    last = len(values) - 1
    return float(values[order[min(low, last)]]), float(values[order[min(high, last)]])


def _is_inverse(header: _Header) -> bool:
    """Return whether the lowest value is shown white (PS3.3, C.7.6.3.1.2 and C.11.6.1.2).

    By the Standard, MONOCHROME1 stands with INVERSE and MONOCHROME2 with IDENTITY, and each pair means one inversion
    or none. Where they contradict each other, viewers differ: scanners write IDENTITY with MONOCHROME1 by mistake, so
    that either attribute inverts.
    """
    with header.remarks.leaving_out("the Presentation LUT"):
        if header.elements.has(tags.PRESENTATION_LUT):
            raise InvalidHeader("expected a Presentation LUT Shape alone, as in every image; check the grey levels")
    photometric, shape = header.layout.photometric, header.elements.text(tags.PRESENTATION_LUT_SHAPE)
    inverse = photometric == "MONOCHROME1" or shape == "INVERSE"
    if shape and (shape == "INVERSE") != (photometric == "MONOCHROME1"):
        header.remarks.add(
            "polarity",
            f"the Presentation LUT Shape does not go with {photometric}: the levels are "
            f"{'inverted' if inverse else 'not inverted'}; check that bone is bright",
        )
    return inverse
