"""Return the pixels of a DICOM image as stored bits."""

from typing import Any, Final, TypeVar

import numpy as np
import numpy.typing as npt

from cxr_edge.errors import Colour, InvalidHeader, Truncated, UnsupportedFormat
from cxr_edge.images.dicom.layout import LUMA_CHROMA, Layout

#: Most levels by which the channels of grey stored as colour may differ: JPEG changes them.
GREY_WITHIN: Final = 8

#: Type of a sample.
Pixel = TypeVar("Pixel", bound=np.generic)
Samples = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]


def native_samples(value: memoryview, layout: Layout, *, big_endian: bool) -> Samples:
    """Return uncompressed pixels, (H, W) or (H, W, 3), without a copy where the layout allows it.

    Raises
    ------
    Truncated, UnsupportedFormat
    """
    if layout.photometric == "YBR_FULL_422":
        raise UnsupportedFormat(
            "uncompressed pixels with halved chroma (YBR_FULL_422) are not read; send the grey image"
        )
    expected = layout.count * layout.bits_allocated // 8
    if len(value) < expected:
        raise Truncated(f"expected {expected} bytes of pixels, got {len(value)}; copy the file again")
    if layout.bits_allocated == 8:
        return arranged(np.frombuffer(value, np.uint8, layout.count), layout)
    stored = np.frombuffer(value, ">u2" if big_endian else "<u2", layout.count)
    return arranged(stored.astype(np.uint16, copy=False), layout)


def arranged(flat: npt.NDArray[Pixel], layout: Layout) -> npt.NDArray[Pixel]:
    """Reshape a flat array of samples to (H, W) or (H, W, 3)."""
    if layout.samples == 1:
        return flat.reshape(layout.rows, layout.columns)
    if layout.planar:
        return np.moveaxis(flat.reshape(3, layout.rows, layout.columns), 0, -1)
    return flat.reshape(layout.rows, layout.columns, 3)


def one_channel(samples: Samples, *, chroma: bool) -> Samples:
    """Reduce grey that is stored as colour to (H, W).

    Parameters
    ----------
    samples : ndarray, (H, W) or (H, W, 3)
    chroma : bool
        The three channels are one of luma and two of chroma.

    Raises
    ------
    Colour
    """
    if samples.ndim == 2:
        return samples
    if chroma:
        spread = int(np.abs(samples[..., 1:].astype(np.int16) - 128).max())
    else:
        spread = int((samples.max(axis=-1) - samples.min(axis=-1)).max())
    if spread > GREY_WITHIN:
        raise Colour(f"expected a grey image, got colours ({spread} levels apart); send the radiograph itself")
    return samples[..., 0 if chroma else 1].copy()


def holds_chroma(layout: Layout, *, converted: bool) -> bool:
    """Return whether the samples are luma and chroma; a codec of the JPEG family has converted them to RGB."""
    return layout.photometric in LUMA_CHROMA and not converted


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
