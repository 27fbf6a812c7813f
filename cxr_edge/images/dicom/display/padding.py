"""Padding: values that stand for no part of the image (PS3.3, C.7.5.1.1.2)."""

from typing import Final

import numpy as np
import numpy.typing as npt

from cxr_edge.errors import InvalidHeader
from cxr_edge.images.dicom.header import tags
from cxr_edge.images.dicom.header.elements import Elements
from cxr_edge.images.dicom.header.layout import Layout
from cxr_edge.images.dicom.header.remarks import Remarks

_WORD: Final = 2**16
#: Share of the middle of an image from which on padding is warned of, and of every so many pixels it is taken.
_COVERED: Final = 0.001
_STRIDE: Final = 4


def padding_of(
    stored: npt.NDArray[np.int64], elements: Elements, layout: Layout, remarks: Remarks
) -> npt.NDArray[np.bool_]:
    """Return which patterns of the bits allocated are padding.

    Parameters
    ----------
    stored : ndarray, (N,) int64
        Stored value of each pattern.
    elements : Elements
    layout : Layout
    remarks : Remarks
        Gets a warning if the header's padding cannot be used.

    Returns
    -------
    ndarray, (N,) bool
    """
    with remarks.leaving_out("the padding"):
        value = elements.words(tags.PADDING_VALUE)[:1]
        ends = sorted(_with_sign(number, layout) for number in value + elements.words(tags.PADDING_LIMIT)[:1])
        if value:
            padding = (stored >= ends[0]) & (stored <= ends[-1])
            if padding.all():
                raise InvalidHeader("expected a range of some values, got one of all; export the image again")
            return np.asarray(padding if padding.any() else _beside(ends, layout))
    return np.zeros(stored.shape, np.bool_)


def tell_what_it_covers(
    padding: npt.NDArray[np.bool_], levels: npt.NDArray[np.uint8] | npt.NDArray[np.uint16], remarks: Remarks
) -> None:
    """Warn of padding in the middle of the image: levels of the patient have the value, and become black.

    Parameters
    ----------
    padding : ndarray, (N,) bool
        Of each pattern.
    levels : ndarray, (H, W) uint8 or uint16
    remarks : Remarks
    """
    if not padding.any():
        return
    height, width = levels.shape
    middle = levels[height // 4 : -(height // 4) : _STRIDE, width // 4 : -(width // 4) : _STRIDE]
    covered = float(padding[middle].mean())
    if covered > _COVERED:
        remarks.add(
            "padding",
            f"{covered:.1%} of the middle of the image is padding by the header, and shown black; look at the image",
        )


def _with_sign(number: int, layout: Layout) -> int:
    """Return a number of 16 bits, or of the bits stored, as the pixels mean it: its VR may not."""
    number %= _WORD
    if not layout.signed:
        return number
    span = 1 << layout.bits_stored
    if span // 2 <= number < span:
        return number - span
    return number - _WORD if number >= _WORD // 2 else number


def _beside(ends: list[int], layout: Layout) -> npt.NDArray[np.bool_]:
    """Return which patterns are padding beyond the bits stored, where scanners write it in all bits allocated."""
    patterns = np.arange(2**layout.bits_allocated)
    if layout.signed:
        patterns -= (patterns >= len(patterns) // 2) * len(patterns)
    return np.asarray((patterns >= ends[0]) & (patterns <= ends[-1]))
