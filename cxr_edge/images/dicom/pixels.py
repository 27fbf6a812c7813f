"""Return the pixels of a DICOM image as stored bits."""

from dataclasses import replace
from enum import Enum
from typing import Any

import numpy as np
import numpy.typing as npt

from cxr_edge.errors import InvalidHeader, Truncated, UnsupportedFormat
from cxr_edge.images.dicom.header.layout import ColourSpace, Layout

Samples = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]


class ByteOrder(Enum):
    """Order of the bytes of uncompressed pixels."""

    LITTLE = "16-bit words, lowest byte first; 8-bit samples one after the other"
    BIG = "16-bit words, highest byte first; 8-bit samples one after the other"
    SWAPPED = "8-bit samples in 16-bit words, highest byte first"


def native_samples(value: memoryview, layout: Layout, order: ByteOrder) -> Samples:
    """Return uncompressed pixels, (H, W) or (H, W, 3), without a copy where the layout allows it.

    Parameters
    ----------
    value : memoryview
        At least as many bytes as the layout states.
    layout : Layout
    order : ByteOrder

    Raises
    ------
    UnsupportedFormat, Truncated
    """
    if layout.photometric == "YBR_FULL_422":
        raise UnsupportedFormat(
            "uncompressed pixels with halved chroma (YBR_FULL_422) are not read; send the grey image"
        )
    if layout.bits_allocated == 16:
        stored = np.frombuffer(value, "<u2" if order is ByteOrder.LITTLE else ">u2", layout.count)
        return arranged(stored.astype(np.uint16, copy=False), layout)
    if order is ByteOrder.SWAPPED:
        if len(value) < layout.count + layout.count % 2:
            raise Truncated(f"expected pixels in whole 16-bit words, got {len(value)} bytes; copy the file again")
        words = np.frombuffer(value, np.uint16, -(-layout.count // 2))
        return arranged(words.byteswap().view(np.uint8)[: layout.count], layout)
    return arranged(np.frombuffer(value, np.uint8, layout.count), layout)


def arranged(flat: Samples, layout: Layout) -> Samples:
    """Reshape a flat array of samples to (H, W) or (H, W, 3)."""
    if layout.samples == 1:
        return flat.reshape(layout.rows, layout.columns)
    if layout.planar:
        return np.moveaxis(flat.reshape(3, layout.rows, layout.columns), 0, -1)
    return flat.reshape(layout.rows, layout.columns, 3)


def run_samples(decoded: Samples, layout: Layout) -> Samples:
    """Arrange decoded run lengths, which are in planes (PS3.5, G.2), as (H, W) or (H, W, 3).

    Parameters
    ----------
    decoded : ndarray
        Flat; at least as many samples as the layout states.
    layout : Layout

    Raises
    ------
    InvalidHeader
    """
    if decoded.size % layout.samples:
        raise InvalidHeader(
            f"expected {layout.samples} planes of one length in the run lengths, got {decoded.size} samples; "
            "export the image again"
        )
    planes = decoded.reshape(layout.samples, -1)[:, : layout.rows * layout.columns]
    return arranged(planes.reshape(-1), replace(layout, planar=True))


def one_channel(samples: Samples, colours: ColourSpace) -> tuple[Samples, int]:
    """Reduce grey that is stored as colour to (H, W).

    Parameters
    ----------
    samples : ndarray, (H, W, 3)
    colours : ColourSpace

    Returns
    -------
    grey : ndarray, (H, W)
    spread : int
        The levels by which the samples differ most from grey.
    """
    first, second, third = (samples[..., channel] for channel in range(3))
    if colours is ColourSpace.LUMA_CHROMA:
        chroma = (second.min(), second.max(), third.min(), third.max())
        return first.copy(), max(abs(int(end) - 128) for end in chroma)
    highest, lowest = np.maximum(np.maximum(first, second), third), np.minimum(np.minimum(first, second), third)
    return second.copy(), int((highest - lowest).max())


def checked_samples(decoded: npt.NDArray[Any], layout: Layout) -> Samples:
    """Check what a codec returned against the header, and return it as stored bits.

    Raises
    ------
    InvalidHeader
    """
    shape = (layout.rows, layout.columns) if layout.samples == 1 else (layout.rows, layout.columns, 3)
    if decoded.shape != shape or decoded.dtype.kind not in "ui" or decoded.dtype.itemsize > 4:
        raise InvalidHeader(
            f"expected pixels of shape {shape}, the codestream contains {decoded.shape}; export the image again"
        )
    if layout.bits_allocated == 8:
        return decoded.astype(np.uint8, copy=False)
    return decoded.astype(np.uint16, copy=False)
