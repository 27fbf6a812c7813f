"""Let the values of the samples decide where the header and the data contradict each other.

Two readings of the same bits, of which one is wrong, differ in jumps: a level that is wrapped around
jumps by a power of two where its neighbours do not. So the reading whose neighbours are closer, by
its range and at the places where the readings differ, is the right one. In doubt, an image is refused.
"""

from dataclasses import replace
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from cxr_edge.errors import Colour, HeaderMismatch, Truncated
from cxr_edge.images.dicom.agreement import mismatch_warning
from cxr_edge.images.dicom.codestreams.codestream import Frame
from cxr_edge.images.dicom.header.layout import Layout
from cxr_edge.images.dicom.pixels import Samples, arranged, one_channel
from cxr_edge.support.warnings import CodedWarning

#: A reading is clearly better if its neighbours are apart by at most this share of what they are by the other.
_CLEARLY: Final = 0.5
#: Neighbours by another reading must be apart by less than this share, for what only the header states.
_TORN: Final = 0.25
#: Share of the neighbours that a wrong sign tears apart, at least; hard edges are fewer.
_OFTEN: Final = 0.005
#: About so many samples are compared with their neighbours.
_COMPARED: Final = 250_000
#: Lossy coding exceeds the highest level by at most this many bits less than the range: 3 %.
_OVERSHOOT: Final = 5
#: Most levels by which the channels of grey stored as colour may differ: JPEG changes them.
GREY_WITHIN: Final = 8


class _Reading(NamedTuple):
    """A way to read values from cells: how many bits, the highest of them, and whether they have a sign."""

    bits: int
    high_bit: int
    signed: bool

    def values(self, cells: Samples) -> npt.NDArray[np.int32]:
        """Return the value of each cell."""
        top = cells.astype(np.uint32) << np.uint32(31 - self.high_bit)
        unused = 32 - self.bits
        return top.view(np.int32) >> unused if self.signed else (top >> np.uint32(unused)).view(np.int32)


def without_overshoot(
    samples: Samples, layout: Layout, frame: Frame | None
) -> tuple[Samples, tuple[CodedWarning, ...]]:
    """Take back the little by which lossy coding exceeds the highest level, which would wrap around to the lowest.

    That happens where a codestream states more bits than the header, as the 12 of JPEG Extended always are.

    Parameters
    ----------
    samples : ndarray, uint8 or uint16
    layout : Layout
    frame : Frame or None
        What their codestream states; None for pixels that have none.

    Returns
    -------
    samples : ndarray, uint8 or uint16
    warnings : tuple of CodedWarning
    """
    if frame is None or layout.signed or layout.low_bit or frame.bits <= layout.bits_stored:
        return samples, ()
    highest, found = (1 << layout.bits_stored) - 1, int(samples.max())
    if not highest < found <= highest + (highest >> _OVERSHOOT):
        return samples, ()
    message = (
        f"the header states {layout.bits_stored} bits stored, the codestream of {frame.bits} bits exceeds their "
        f"highest level by up to {found - highest}, as lossy coding does; the highest level was used"
    )
    return np.minimum(samples, samples.dtype.type(highest)), (mismatch_warning(message),)


def check_samples(samples: Samples, layout: Layout, frame: Frame | None = None) -> tuple[CodedWarning, ...]:
    """Compare the values of samples with the bits and the sign that the header states.

    Bits outside Bits Stored are left out, as the Standard says (PS3.5, 8.1.1). But where they
    continue the samples, Bits Stored is wrong, and leaving them out would wrap the levels around.
    The same holds for a sign that only one of header and codestream states.

    Parameters
    ----------
    samples : ndarray, uint8 or uint16
        Bits of the samples as stored.
    layout : Layout
        That of the samples.
    frame : Frame, optional
        What their codestream states.

    Returns
    -------
    tuple of CodedWarning

    Raises
    ------
    HeaderMismatch
        The header's reading is not the right one.
    Truncated
        Samples exceed the bits of their own codestream.
    """
    if frame is not None and not frame.signed and (highest := int(samples.max())) >> frame.bits:
        raise Truncated(
            f"the codestream states samples of {frame.bits} bits, and one of them is {highest}: it is damaged; "
            "copy the file again"
        )
    if frame is not None and frame.signed is not None and frame.signed != layout.signed:
        return _check_sign(samples, layout, frame)
    cell = layout.bits_allocated if frame is None else frame.bits
    used, needed = _used_bits(samples, layout, cell)
    below, above = used & (1 << layout.low_bit) - 1, used >> layout.high_bit + 1
    if not below and not above:
        return ()
    stated = f"the header states {layout.bits_stored} bits stored up to High Bit {layout.high_bit}"
    whole = _Reading(cell - layout.low_bit, cell - 1, layout.signed)
    aligned_low = below and needed <= layout.bits_stored
    if aligned_low or (above and _in_doubt(samples, whole, layout, otherwise=cell < layout.bits_allocated)):
        raise HeaderMismatch(f"{stated}, but the samples need the lowest {needed} bits; export the image again")
    where = "pixels" if frame is None else "codestream"
    return (mismatch_warning(f"{stated}, the samples of the {where} have other bits too; those were left out"),)


def _used_bits(samples: Samples, layout: Layout, cell: int) -> tuple[int, int]:
    """Return the bits that are set in any sample, and how many of the lowest bits the samples need.

    Bits above High Bit that only repeat the sign, up to the highest of a cell, do not count.
    """
    used = int(np.bitwise_or.reduce(samples, axis=None))
    if not layout.signed or not used >> layout.high_bit + 1:
        return used, used.bit_length()
    unused = 8 * samples.dtype.itemsize - cell
    signed = np.left_shift(samples, unused, dtype=samples.dtype).view(f"i{samples.dtype.itemsize}")
    ends = (int(signed.min()) >> unused, int(signed.max()) >> unused)
    needed = 1 + max((~end if end < 0 else end).bit_length() for end in ends)
    return (used & (2 << layout.high_bit) - 1 if needed <= layout.high_bit + 1 else used), needed


def _check_sign(samples: Samples, layout: Layout, frame: Frame) -> tuple[CodedWarning, ...]:
    """Read samples by the header's sign, unless they are those of the codestream's.

    Encoders write two's complement as if it had no sign (pydicom, issue 1149), and the other way round.
    """
    signs = ("signed", "unsigned") if layout.signed else ("unsigned", "signed")
    stated = f"the header states {signs[0]} samples of {layout.bits_stored} bits, the codestream {signs[1]} ones of "
    codestream = _Reading(frame.bits - layout.low_bit, frame.bits - 1, not layout.signed)
    if _in_doubt(samples, codestream, layout, otherwise=True):
        raise HeaderMismatch(f"{stated}{frame.bits}, and its levels are {signs[1]}; export the image again")
    return (mismatch_warning(f"{stated}{frame.bits} bits; they were read as {signs[0]}"),)


def _in_doubt(samples: Samples, other: _Reading, layout: Layout, *, otherwise: bool) -> bool:
    """Return whether the header's reading is not clearly the better one, where another differs from it.

    Parameters
    ----------
    samples : ndarray
    other : _Reading
    layout : Layout
        The header's reading.
    otherwise : bool
        The answer where values differ, but no differences of neighbours.
    """
    rows = samples[:: max(1, samples.size // _COMPARED)]
    header = _Reading(layout.bits_stored, layout.high_bit, layout.signed).values(rows)
    others = other.values(rows)
    if np.array_equal(header, others):
        return False
    by_header, by_other = (np.abs(np.diff(values, axis=1)) for values in (header, others))
    differ = by_header != by_other
    if not differ.any():
        return otherwise
    return _torn(by_header[differ], header) > _CLEARLY * _torn(by_other[differ], others)


def check_stated_once(samples: Samples, layout: Layout, frame: Frame | None) -> tuple[CodedWarning, ...]:
    """Check what nothing but the header states against the values: sign, byte order, and rows against columns.

    A wrong byte order or exchanged rows and columns tear the image apart everywhere, and are refused. A wrong sign does
    so only where levels pass the middle of their range, as hard edges can do, too: it is warned of.

    Parameters
    ----------
    samples : ndarray, (H, W) uint8 or uint16
    layout : Layout
    frame : Frame or None
        What a codestream states is not stated by the header alone.

    Raises
    ------
    HeaderMismatch
    """
    rows = _some_rows(samples)
    if frame is None:
        _check_shape(samples, layout)
        _check_byte_order(rows, layout)
    if frame is not None and frame.signed is not None:
        return ()
    header = _Reading(layout.bits_stored, layout.high_bit, layout.signed).values(rows)
    other = _Reading(layout.bits_stored, layout.high_bit, not layout.signed).values(rows)
    by_header, by_other = (np.abs(np.diff(values, axis=1)) for values in (header, other))
    differ = by_header != by_other
    if differ.mean() < _OFTEN or _torn(by_other[differ], other) > _TORN * _torn(by_header[differ], header):
        return ()
    signs = ("signed", "unsigned") if layout.signed else ("unsigned", "signed")
    return (
        mismatch_warning(f"the header states {signs[0]} samples, and their levels look {signs[1]}; look at the image"),
    )


def _some_rows(image: Samples) -> Samples:
    """Return rows from the upper middle of an image, of about `_COMPARED` samples."""
    return image[len(image) // 4 :][: max(2, _COMPARED // image.shape[1])]


def _check_shape(samples: Samples, layout: Layout) -> None:
    if layout.rows == layout.columns:
        return
    turned = samples.reshape(layout.columns, layout.rows)
    down, down_turned = (np.abs(np.diff(_some_rows(image).astype(np.int32), axis=0)) for image in (samples, turned))
    if _torn(down_turned, samples) < _TORN * _torn(down, samples):
        raise HeaderMismatch(
            f"the header states {layout.rows} rows of {layout.columns} columns, and the levels are those of "
            f"{layout.columns} rows of {layout.rows}; export the image again"
        )


def _check_byte_order(rows: Samples, layout: Layout) -> None:
    if layout.bits_stored < 16:
        return
    swapped = rows.byteswap()
    across, across_swapped = (np.abs(np.diff(values.astype(np.int32), axis=1)) for values in (rows, swapped))
    if _torn(across_swapped, swapped) < _TORN * _torn(across, rows):
        raise HeaderMismatch(
            "the transfer syntax states one byte order, and the levels are in the other; export the image again"
        )


def _torn(steps: npt.NDArray[np.int32], values: npt.NDArray[Any]) -> float:
    """Return how far apart neighbours are, as a share of the range of values."""
    return float(np.median(steps)) / max(1, int(np.ptp(values)))


def grey_of_colours(samples: Samples, layout: Layout, frame: Frame | None) -> tuple[Samples, tuple[CodedWarning, ...]]:
    """Reduce grey that is stored as colour to one channel, by the colours of the header or of the codestream.

    Grey has three equal samples as red, green and blue, and no chroma as luma and chroma, so the
    samples decide which of two statements is right.

    Parameters
    ----------
    samples : ndarray, (H, W, 3)
    layout : Layout
    frame : Frame or None
        What their codestream states; None for pixels that have none.

    Returns
    -------
    grey : ndarray, (H, W)
    warnings : tuple of CodedWarning

    Raises
    ------
    Colour
        The image is not grey.
    HeaderMismatch
        It is, but in the other Planar Configuration.
    """
    grey, spread = one_channel(samples, layout.colours)
    if frame is None:
        _check_planes(samples, layout, spread)
    stated = None if frame is None else frame.colours
    if spread <= GREY_WITHIN and layout.photometric == "YBR_FULL_422" and stated is None:
        return grey, (mismatch_warning("the header states halved chroma, the pixels have all of it, which was used"),)
    if spread <= GREY_WITHIN:
        return grey, ()
    if stated not in (None, layout.colours):
        other, spread_of_other = one_channel(samples, stated)
        if spread_of_other <= GREY_WITHIN:
            message = f"the header states {layout.colours.value}, the codestream has {stated.value}, which was used"
            return other, (mismatch_warning(message),)
    raise Colour(f"expected a grey image, got colours ({spread} levels apart); send the radiograph itself")


def _check_planes(samples: Samples, layout: Layout, spread: int) -> None:
    """Check that uncompressed pixels are not grey in the other Planar Configuration, or nearer to grey."""
    flat = (np.moveaxis(samples, -1, 0) if layout.planar else samples).reshape(-1)
    other = one_channel(arranged(flat, replace(layout, planar=not layout.planar)), layout.colours)[1]
    if other <= GREY_WITHIN and other < spread:
        raise HeaderMismatch(
            f"the header states Planar Configuration {int(layout.planar)}, but the samples are in "
            f"{int(not layout.planar)}; export the image again"
        )
