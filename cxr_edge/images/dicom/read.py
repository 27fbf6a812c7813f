"""Decode one DICOM image to 8-bit grey levels, or refuse it with an error code."""

import re
from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset

from cxr_edge.errors import (
    HeaderMismatch,
    InvalidHeader,
    MissingPackage,
    Truncated,
    UnsupportedFormat,
)
from cxr_edge.images.dicom import codecs, pixels
from cxr_edge.images.dicom.chest import subject_warnings
from cxr_edge.images.dicom.codestream import read_frame
from cxr_edge.images.dicom.data_set import encoded_data_set
from cxr_edge.images.dicom.elements import Elements, identified
from cxr_edge.images.dicom.isolation import decode_isolated
from cxr_edge.images.dicom.layout import Layout, read_layout
from cxr_edge.images.dicom.parse import Encoded, fragments, parse
from cxr_edge.images.dicom.presentation import Display, to_grey
from cxr_edge.images.limits import InputLimits
from cxr_edge.support.warnings import CodedWarning


@dataclass(frozen=True)
class GreyImage:
    """A DICOM image mapped to grey levels as its header specifies.

    Attributes
    ----------
    grey : ndarray, (H, W) uint8
    levels : ndarray, (H, W) uint8 or uint16
        As stored.
    display : Display or None
        How the levels became grey; None for grey that is stored as colour.
    warnings : tuple of CodedWarning
    header : Elements
        The attributes needed to read the image and to write results for it.
    """

    grey: npt.NDArray[np.uint8]
    levels: pixels.Samples
    display: Display | None
    warnings: tuple[CodedWarning, ...]
    header: Elements


def read_file(data: bytes, limits: InputLimits) -> GreyImage:
    """Read the bytes of a DICOM file.

    Raises
    ------
    InputError
    """
    return _read(parse(data, limits), limits)


def read_dataset(dataset: Dataset, limits: InputLimits) -> GreyImage:
    """Read a data set that pydicom has parsed.

    Raises
    ------
    InputError
    """
    return _read(encoded_data_set(dataset, limits), limits)


def _read(encoded: Encoded, limits: InputLimits) -> GreyImage:
    with identified(encoded.elements):
        return _to_grey_image(encoded, limits)


def _to_grey_image(encoded: Encoded, limits: InputLimits) -> GreyImage:
    elements = encoded.elements
    layout = read_layout(elements, limits)
    warnings = subject_warnings(elements, strict=limits.strict)
    if encoded.syntax in codecs.NATIVE:
        if encoded.encapsulated:
            raise InvalidHeader(
                "expected uncompressed pixels by the transfer syntax, got fragments; export the image again"
            )
        big_endian = encoded.syntax == codecs.BIG_ENDIAN and layout.bits_allocated == 16
        samples = pixels.native_samples(encoded.pixels, layout, big_endian=big_endian)
        low_bit = layout.high_bit + 1 - layout.bits_stored
        chroma = pixels.holds_chroma(layout, converted=False)
    else:
        samples, low_bit = _decompressed(encoded, layout, limits), 0
        chroma = pixels.holds_chroma(layout, converted=encoded.syntax != codecs.RLE)
    levels = pixels.one_channel(samples, chroma=chroma)
    grey, display, mapping = to_grey(levels, elements, layout, low_bit=low_bit)
    return GreyImage(grey, levels, display, (*mapping, *warnings), elements)


def _decompressed(encoded: Encoded, layout: Layout, limits: InputLimits) -> pixels.Samples:
    if encoded.syntax != codecs.RLE and encoded.syntax not in codecs.CODECS:
        uid = encoded.syntax if re.fullmatch(r"[0-9.]{1,64}", encoded.syntax) else "(not a UID)"
        raise UnsupportedFormat(f"the transfer syntax {uid} is not read; send the image uncompressed, or as JPEG 2000")
    if find_spec("imagecodecs") is None:
        raise MissingPackage.for_dicom("imagecodecs")
    if not encoded.encapsulated:
        raise InvalidHeader(
            "expected fragments of compressed pixels by the transfer syntax, got a defined length; "
            "export the image again"
        )
    stream = fragments(encoded)
    if encoded.syntax != codecs.RLE:
        _check_frame(stream, layout)
    if limits.isolated:
        decoded = decode_isolated(encoded.syntax, stream, layout, limits)
    else:
        decoded = _decode_here(encoded.syntax, stream, layout)
    if encoded.syntax == codecs.RLE:
        if decoded.size < layout.count:
            raise Truncated(
                f"expected {layout.count} samples, the run lengths contain {decoded.size}; copy the file again"
            )
        decoded = pixels.arranged(decoded[: layout.count], replace(layout, planar=True))
    return pixels.checked_samples(decoded, layout)


def _check_frame(stream: bytes, layout: Layout) -> None:
    frame = read_frame(stream)
    header = (layout.rows, layout.columns, layout.samples)
    if (frame.rows, frame.columns, frame.samples) != header or frame.bits > layout.bits_allocated:
        raise HeaderMismatch(
            f"the header states {layout.columns}x{layout.rows} with {layout.samples} sample(s) of at most "
            f"{layout.bits_allocated} bits, the codestream {frame.columns}x{frame.rows} with {frame.samples} of "
            f"{frame.bits}; export the image again"
        )


def _decode_here(syntax: str, stream: bytes, layout: Layout) -> npt.NDArray[Any]:
    try:
        return codecs.decode_samples(syntax, stream, layout.bits_allocated)
    except Exception as error:  # each codec has exceptions of its own, and their text may quote the stream
        raise Truncated(f"the compressed pixels are damaged ({type(error).__name__}); copy the file again") from error
