"""Decode DICOM's run lengths (PS3.5, G): a header with offsets, and a segment for each byte of a sample."""

import struct
from itertools import pairwise
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from cxr_edge.errors import Truncated

_HEADER_BYTES: Final = 64
_MAX_SEGMENTS: Final = 15
#: Two ways to continue a segment that ends within a run: zeros, and bytes that mean nothing between two runs.
#: Both are longer than any run (PS3.5, G.3.1), and what both give was in the segment.
_CONTINUATIONS: Final = (b"\0" * 129, b"\x80" * 129)


def decode_run_lengths(stream: bytes, bits_allocated: int) -> tuple[npt.NDArray[Any], int]:
    """Decode the segments as far as they go; bytes that follow a segment may give more samples than there are.

    Parameters
    ----------
    stream : bytes
    bits_allocated : int
        8 or 16.

    Returns
    -------
    samples : ndarray, flat, uint8 or uint16
        Plane by plane, each as long as the shortest segment.
    surplus : int
        Bytes that longer segments decode to beyond that; 0 if all are zeros, as padding decodes to.

    Raises
    ------
    Truncated
    """
    segments = [_decode_segment(segment) for segment in _segments(stream, bits_allocated // 8)]
    size = min(map(len, segments))
    planes = np.stack([segment[:size] for segment in segments]) if len(segments) > 1 else segments[0][np.newaxis]
    surplus = sum(len(segment) - size for segment in segments if segment[size:].any())
    if bits_allocated == 16:
        return (planes[0::2].astype(np.uint16) << 8 | planes[1::2]).ravel(), surplus
    return planes.ravel(), surplus


def _segments(stream: bytes, bytes_per_sample: int) -> list[bytes]:
    if len(stream) < _HEADER_BYTES:
        raise _damaged("they have no header")
    count, *offsets = struct.unpack_from("<16I", stream)
    if not 1 <= count <= _MAX_SEGMENTS or count % bytes_per_sample:
        raise _damaged(f"they have {count} segments for samples of {bytes_per_sample} bytes")
    bounds = [*offsets[:count], len(stream)]
    if bounds[0] < _HEADER_BYTES or bounds != sorted(bounds):
        raise _damaged("their segments overlap or are missing")
    return [stream[start:end] for start, end in pairwise(bounds)]


def _decode_segment(segment: bytes) -> npt.NDArray[np.uint8]:
    from imagecodecs import PackbitsError, packbits_decode

    try:
        return np.frombuffer(packbits_decode(segment), np.uint8)
    except PackbitsError:  # it ends within a run: it is cut off, or other bytes follow its runs
        first, second = (np.frombuffer(packbits_decode(segment + more), np.uint8) for more in _CONTINUATIONS)
    size = min(len(first), len(second))
    different = np.flatnonzero(first[:size] != second[:size])
    return first[: different[0] if len(different) else size]


def _damaged(what: str) -> Truncated:
    return Truncated(f"the run lengths of the pixels are damaged ({what}); copy the file again")
