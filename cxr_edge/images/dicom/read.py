"""Decode one DICOM image to 8-bit grey levels, or refuse it with an error code."""

import re
from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset

from cxr_edge.errors import (
    InvalidHeader,
    MissingPackage,
    Truncated,
    UnsupportedFormat,
)
from cxr_edge.images.dicom import agreement, pixels
from cxr_edge.images.dicom.codestreams import codecs
from cxr_edge.images.dicom.codestreams.codestream import Frame, read_frame
from cxr_edge.images.dicom.codestreams.trimming import trimmed
from cxr_edge.images.dicom.decoders.isolation import decode_isolated
from cxr_edge.images.dicom.display.presentation import Display, to_grey
from cxr_edge.images.dicom.evidence import check_samples, check_stated_once, grey_of_colours, without_overshoot
from cxr_edge.images.dicom.fragments import fragments
from cxr_edge.images.dicom.header import syntaxes
from cxr_edge.images.dicom.header.chest import subject_warnings
from cxr_edge.images.dicom.header.data_set import encoded_data_set
from cxr_edge.images.dicom.header.elements import Elements, identified
from cxr_edge.images.dicom.header.kinds import check_origin
from cxr_edge.images.dicom.header.layout import Layout, read_layout
from cxr_edge.images.dicom.header.parse import Encoded, parse
from cxr_edge.images.limits import InputLimits
from cxr_edge.images.surplus import surplus_warnings
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
    check_origin(elements)
    layout = read_layout(elements, limits)
    subject = subject_warnings(elements, limits.view, strict=limits.strict)
    stored = _native(encoded, layout) if encoded.syntax in syntaxes.NATIVE else _decompressed(encoded, layout, limits)
    layout = stored.layout
    levels, overshoot = without_overshoot(stored.samples, layout, stored.frame)
    warnings = (*stored.warnings, *overshoot, *check_samples(levels, layout, stored.frame))
    if layout.samples == 1:
        warnings += check_stated_once(levels, layout, stored.frame)
    else:
        levels, mismatch = grey_of_colours(levels, layout, stored.frame)
        warnings += mismatch
    grey, display, mapping = to_grey(levels, elements, layout, low_bit=layout.low_bit)
    return GreyImage(grey, levels, display, (*mapping, *warnings, *subject), elements)


class _Stored(NamedTuple):
    """Samples as stored, the layout they have, what their codestream states, and what was contradictory."""

    samples: pixels.Samples
    layout: Layout
    frame: Frame | None
    warnings: tuple[CodedWarning, ...]


def _native(encoded: Encoded, layout: Layout) -> _Stored:
    if encoded.encapsulated:
        raise InvalidHeader(
            "expected uncompressed pixels by the transfer syntax, got fragments; export the image again"
        )
    order = agreement.byte_order(encoded.syntax, encoded.vr, layout)
    warnings = agreement.check_length(encoded.pixels, layout)
    return _Stored(pixels.native_samples(encoded.pixels, layout, order), layout, None, warnings)


def _decompressed(encoded: Encoded, layout: Layout, limits: InputLimits) -> _Stored:
    if encoded.syntax != syntaxes.RLE and encoded.syntax not in codecs.CODECS:
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
    if encoded.syntax == syntaxes.RLE:
        agreement.check_runs(stream, layout)
        decoded, surplus = _decoded(encoded.syntax, stream, layout, limits)
        warnings = agreement.check_length(decoded.view(np.uint8).data, layout) + surplus_warnings(surplus, 0)
        return _Stored(pixels.run_samples(decoded, layout), replace(layout, planar=True), None, warnings)
    found = trimmed(stream, limits)
    frame = read_frame(found.stream)
    agreed, warnings = agreement.agree(layout, frame)
    decoded, surplus = _decoded(encoded.syntax, found.stream, layout, limits)
    warnings += surplus_warnings(found.surplus + surplus, found.trailing)
    return _Stored(pixels.checked_samples(decoded, agreed), agreed, frame, warnings)


def _decoded(syntax: str, stream: bytes, layout: Layout, limits: InputLimits) -> codecs.Decoded:
    return decode_isolated(syntax, stream, layout, limits) if limits.isolated else _decode_here(syntax, stream, layout)


def _decode_here(syntax: str, stream: bytes, layout: Layout) -> codecs.Decoded:
    try:
        return codecs.decode_samples(syntax, stream, layout.bits_allocated)
    except Exception as error:  # each codec has exceptions of its own, and their text may quote the stream
        raise Truncated(f"the compressed pixels are damaged ({type(error).__name__}); copy the file again") from error
