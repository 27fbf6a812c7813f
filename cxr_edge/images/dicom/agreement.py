"""Compare everything that a DICOM file says twice.

The header describes the pixels, and so do their number of bytes, their fragments, their codestream
and, in `cxr_edge.images.dicom.evidence`, their values. Where two statements differ, the data decide
(PS3.5, 8.2) and the image gets a warning; what cannot be reconciled is refused with both numbers.
Levels are never wrapped, shifted or exchanged, and nothing but padding is dropped without a warning.
"""

import struct
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np

from cxr_edge.errors import HeaderMismatch, Truncated
from cxr_edge.images.dicom.codestreams.codestream import JPEG, JPEG_2000, JPEG_2000_FILE, Frame
from cxr_edge.images.dicom.header.layout import Layout
from cxr_edge.images.dicom.header.syntaxes import BIG_ENDIAN, RLE
from cxr_edge.images.dicom.pixels import ByteOrder
from cxr_edge.support.warnings import CodedWarning

#: Fewest bits of a sample that are read.
_FEWEST_BITS: Final = 8
#: Length of the header of run lengths (PS3.5, G.5), and of an entry in the table of offsets (A.4).
_RUNS_HEADER: Final = 64
_OFFSET_BYTES: Final = 4
#: How codestreams begin.
_BEGINNINGS: Final = (JPEG + b"\xff", JPEG_2000, JPEG_2000_FILE)


def check_length(value: bytes | memoryview, layout: Layout) -> tuple[CodedWarning, ...]:
    """Compare the number of bytes of uncompressed pixels with the header.

    Less than a row or a column more than expected, or nothing but zeros, is padding: it is left out,
    with a warning where it is more than the one byte that makes a length even (PS3.5, 8.1.1).

    Raises
    ------
    Truncated
        There are fewer bytes.
    HeaderMismatch
        There are more than padding: rows, columns, bits, samples or frames differ from the header.
    """
    expected, got = layout.bytes, len(value)
    if got < expected:
        raise Truncated(f"expected {expected} bytes of pixels, got {got}; copy the file again")
    if got - expected <= expected % 2:
        return ()
    most = expected // max(layout.rows, layout.columns)
    if got - expected >= most and np.frombuffer(value, np.uint8, offset=expected).any():
        raise HeaderMismatch(
            f"the header states one image of {layout.columns}x{layout.rows} with {layout.samples} sample(s) of "
            f"{layout.bits_allocated} bits, which are {expected} bytes, but the pixels have {got}: rows, columns, bits "
            "or frames are wrong; export the image again"
        )
    message = f"the pixels are {got - expected} bytes longer than the {expected} that the header states; left out"
    return (mismatch_warning(message),)


def byte_order(syntax: str, vr: str | None, layout: Layout) -> ByteOrder:
    """Return the byte order of uncompressed pixels (PS3.5, 7.3 and 8.1.2; A.1 to A.3).

    In Explicit VR Big Endian, the VR tells whether 8-bit samples are in 16-bit words.

    Raises
    ------
    HeaderMismatch
        In that syntax, the VR leaves the order open.
    """
    if syntax != BIG_ENDIAN:
        return ByteOrder.LITTLE
    if vr == "OW":
        return ByteOrder.BIG if layout.bits_allocated == 16 else ByteOrder.SWAPPED
    if vr == "OB" and layout.bits_allocated == 8:
        return ByteOrder.BIG
    raise HeaderMismatch(
        f"expected pixels as 16-bit words (OW) in Explicit VR Big Endian, or as bytes (OB) with 8 bits allocated, got "
        f"{vr if vr == 'OB' else 'another VR'} with {layout.bits_allocated}; export the image again"
    )


def check_one_frame(syntax: str, offsets: memoryview, fragments: Sequence[memoryview]) -> None:
    """Check that fragments are those of one frame (PS3.5, A.4).

    Parameters
    ----------
    syntax : str
        UID of the transfer syntax; run lengths have one fragment for each frame (A.4.2).
    offsets : memoryview
        Value of the table of offsets; may be empty.
    fragments : sequence of memoryview

    Raises
    ------
    HeaderMismatch
    """
    frames = len(offsets) // _OFFSET_BYTES
    if not frames and syntax == RLE:
        frames = len(fragments)
    begun = sum(bytes(fragment[:12]).startswith(_BEGINNINGS) for fragment in fragments)
    if max(frames, begun) > 1:
        raise HeaderMismatch(
            f"the header states one frame, the compressed pixels have {max(frames, begun)}; send single frames"
        )


def check_runs(stream: bytes, layout: Layout) -> None:
    """Compare the number of segments of run lengths with the header: one for each byte of a pixel (PS3.5, G.2).

    Raises
    ------
    Truncated, HeaderMismatch
    """
    if len(stream) < _RUNS_HEADER:
        raise Truncated("the run lengths end within their header; copy the file again")
    segments = struct.unpack_from("<I", stream)[0]
    expected = layout.samples * layout.bits_allocated // 8
    if segments != expected:
        raise HeaderMismatch(
            f"the header states {layout.samples} sample(s) of {layout.bits_allocated} bits, which are {expected} "
            f"segments, but the run lengths have {segments}; export the image again"
        )


def agree(layout: Layout, frame: Frame) -> tuple[Layout, tuple[CodedWarning, ...]]:
    """Compare the header with a codestream before it is decoded.

    A codestream of at most Bits Stored contains samples, wherever High Bit is; its number of bits
    holds. One of more bits contains whole pixel cells, with the samples up to High Bit.

    Returns
    -------
    layout : Layout
        That of the samples once decoded.
    warnings : tuple of CodedWarning

    Raises
    ------
    HeaderMismatch
    """
    stored, high, bits = layout.bits_stored, layout.high_bit, frame.bits
    size = (layout.rows, layout.columns, layout.samples)
    if (frame.rows, frame.columns, frame.samples) != size or not _FEWEST_BITS <= bits <= layout.bits_allocated:
        raise HeaderMismatch(
            f"the header states {layout.columns}x{layout.rows} with {layout.samples} sample(s) of {_FEWEST_BITS} to "
            f"{layout.bits_allocated} bits, the codestream {frame.columns}x{frame.rows} with {frame.samples} of "
            f"{bits}; export the image again"
        )
    unknown_sign = layout.signed and frame.signed is None and bits < stored
    if unknown_sign or (bits > stored and bits <= high):
        raise HeaderMismatch(
            f"the header states {stored} bits stored up to High Bit {high}{', signed' if layout.signed else ''}, the "
            f"codestream has samples of {bits} bits; export the image again"
        )
    if bits > stored:
        return layout, ()
    agreed = replace(layout, bits_stored=bits, high_bit=bits - 1)
    if agreed == layout:
        return layout, ()
    message = (
        f"the header states {stored} bits stored up to High Bit {high}, the codestream {bits} bits, which were used"
    )
    return agreed, (mismatch_warning(message),)


def mismatch_warning(message: str) -> CodedWarning:
    """Return the warning for a contradiction that the data decide."""
    return CodedWarning(HeaderMismatch.code, f"DICOM: {message}")
