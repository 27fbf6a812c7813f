"""Decode streams of JPEG and JPEG-LS only if their image data are whole.

imagecodecs does not report the warnings of libjpeg, which fills in what is missing. 8-bit JPEG is
therefore decoded with simplejpeg, whose strict mode reports them. JPEG of more bits and lossless JPEG
are decoded a second time with other bits where libjpeg would fill in zeros: if the image changes, it
depends on bits that are not there.
"""

from contextlib import suppress
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from cxr_edge.images.jpeg_frame import LOSSLESS, Frame, damaged
from cxr_edge.images.jpeg_stream import RESTART, Stream, read_stream
from cxr_edge.images.libjpeg import decode_whole
from cxr_edge.images.surplus import surplus_of

#: Bits to fill in: after a 1, a decoder reads another code or number than after the 0 that libjpeg fills in. There
#: are no ones only, a code that never occurs and is read as 0, and no 0xFF, which begins a marker.
_OTHER_BITS: Final = b"\xaa" * 8 + bytes(range(0x40, 0xC0))
_OTHER_BITS_BEFORE_RESTARTS: Final = b"\xaa" * 8
_END_MARKER: Final = b"\xff\xd9"
#: What CharLS states about bytes between image data and end marker.
_SURPLUS: Final = ("source buffer still contains encoded data", "missing End Of Image")

Samples = npt.NDArray[Any]


def decode_jpeg(stream: bytes) -> tuple[Samples, int]:
    """Decode baseline, extended or lossless JPEG.

    Parameters
    ----------
    stream : bytes
        As `cxr_edge.images.jpeg_stream.read_stream` corrected it.

    Returns
    -------
    samples : ndarray, (H, W) or (H, W, samples)
    surplus : int
        Bytes before the end marker that belong to no sample; 0 if they are padding, or for more than 8 bits or
        lossless coding, where they are not found.

    Raises
    ------
    Truncated
        Samples are missing.
    """
    walked = read_stream(stream, max_scans=len(stream))  # the limit was checked when the stream was corrected
    frame = walked.frame
    if frame.bits != 8 or frame.marker == LOSSLESS:
        samples = _as_they_are(stream, frame)
        if not np.array_equal(samples, _as_they_are(_with_other_bits(walked), frame)):
            raise damaged("its image data end early")
        return samples, 0
    luma = np.empty((frame.rows, frame.columns, 1), np.uint8)
    surplus = decode_whole(stream, "GRAY", luma)
    return luma[..., 0] if frame.samples == 1 else _as_they_are(stream, frame), surplus


def _as_they_are(stream: bytes, frame: Frame) -> Samples:
    """Decode samples without converting luma and chroma to RGB."""
    from imagecodecs import jpeg8_decode

    as_is = "RGB" if frame.samples == 3 else None
    return np.asarray(jpeg8_decode(stream, colorspace=as_is, outcolorspace=as_is))


def _with_other_bits(walked: Stream) -> bytes:
    """Return the stream with other bits than libjpeg fills in after each restart interval and scan."""
    data, parts, at = walked.data, list[bytes](), 0
    for start, end in walked.image_data:
        for restart in RESTART.finditer(data, start, end):
            parts += [data[at : restart.start()], _OTHER_BITS_BEFORE_RESTARTS]
            at = restart.start()
        parts += [data[at:end].rstrip(b"\xff"), _OTHER_BITS]
        at = end
    return b"".join([*parts, data[at:]])


def decode_jpeg_ls(stream: bytes) -> tuple[Samples, int]:
    """Decode JPEG-LS, without bytes between the image data and the end marker.

    CharLS tells surplus bytes from missing ones, so their number is searched for. It fills in zeros for the last
    byte: if it takes another byte there, and the image changes, that byte is missing.

    Returns
    -------
    samples : ndarray, (H, W) or (H, W, samples)
    surplus : int
        Bytes before the end marker that belong to no sample; 0 if they are padding.

    Raises
    ------
    Truncated, imagecodecs.JpeglsError
        The stream is damaged.
    """
    from imagecodecs import JpeglsError, jpegls_decode

    data = stream.removesuffix(_END_MARKER)
    samples, end = _longest_jpeg_ls(data)
    other = b"\x40" if data[:end].endswith(b"\xff") else b"\x80"  # a 0 bit follows 0xFF (T.87, A.1)
    with suppress(JpeglsError):  # the data are whole
        if not np.array_equal(jpegls_decode(data[:end] + other + _END_MARKER), samples):
            raise damaged("its image data end early")
    return samples, surplus_of(data, end, len(data))


def _longest_jpeg_ls(data: bytes) -> tuple[Samples, int]:
    """Return the samples of the longest beginning of a stream that CharLS accepts, and its length."""
    from imagecodecs import JpeglsError, jpegls_decode

    found: tuple[Samples, int] | None = None
    least, most, surplus = 0, len(data), 0  # how many bytes may be surplus
    while least <= most:
        end = len(data) - surplus
        try:
            found = np.asarray(jpegls_decode(data[:end] + _END_MARKER)), end
            most = surplus - 1
        except JpeglsError as error:
            if any(text in str(error) for text in _SURPLUS):
                least = surplus + 1
            elif surplus == 0:
                raise
            else:
                most = surplus - 1
        surplus = min(2 * least, (least + most) // 2)
    if found is None:
        raise damaged("its image data end early")
    return found
