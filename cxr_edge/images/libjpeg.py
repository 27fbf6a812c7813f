"""Decode a JPEG with libjpeg-turbo, where each warning about the image data is an error, but for one.

libjpeg goes on after a warning, fills in what is missing, and keeps the text of the first warning only.
`cxr_edge.images.jpeg_stream` has corrected what leads to a warning without any damage.
"""

from typing import Final

import numpy as np
import numpy.typing as npt
import simplejpeg

from cxr_edge.images.jpeg_frame import damaged
from cxr_edge.images.surplus import surplus_of

_END_MARKER: Final = b"\xff\xd9"
#: Part of the text of a warning (libjpeg, jerror.h) → why the image is whole all the same.
WHOLE: Final = {
    "extraneous bytes before marker 0xd9": "No warning can come after it. As it is also the first one, every scan was "
    "decoded without a warning, and no pixel needs these bytes.",
}
#: Part of the text of a warning → why the image may be damaged. So may it be after any other warning.
DAMAGED: Final = {
    "extraneous bytes before marker": "A scan or restart interval ended early; other warnings may follow.",
    "premature end of data segment": "Grey is filled in.",
    "Premature end of JPEG file": "Grey is filled in, and the end marker.",
    "bad Huffman code": "Zeros are filled in.",
    "found marker 0x": "Restart intervals are lost or displaced.",
    "Inconsistent progression sequence": "Bits of coefficients are missing or come twice.",
    "Invalid SOS parameters for sequential JPEG": "Harmless, but corrected before, so that it hides no other.",
    "unknown JFIF revision number": "Harmless, but corrected before, so that it hides no other.",
    "Unknown Adobe color transform code": "Corrected before to what libjpeg does then, so that it hides no other.",
}


def decode_whole(stream: bytes, space: str, levels: npt.NDArray[np.uint8]) -> int:
    """Decode a corrected stream of 8-bit DCT coding.

    Parameters
    ----------
    stream : bytes
        As `cxr_edge.images.jpeg_stream.read_stream` returns it.
    space : str
        ``GRAY`` or ``CMYK``.
    levels : ndarray, (H, W, C) uint8
        Filled with the image; its shape is that of the frame header.

    Returns
    -------
    int
        Surplus bytes before the end marker; 0 if they are padding.

    Raises
    ------
    Truncated
    """
    surplus = 0
    try:
        decoded = simplejpeg.decode_jpeg(stream, space, strict=True, buffer=levels)
    except ValueError as error:
        warning = str(error)
        if not any(text in warning for text in WHOLE):
            raise damaged(warning) from error
        end = len(stream) - len(_END_MARKER)
        surplus = surplus_of(stream, end - int(warning.partition(" extraneous")[0].rpartition(" ")[2]), end)
        decoded = simplejpeg.decode_jpeg(stream, space, strict=False, buffer=levels)
    if decoded.shape != levels.shape:
        raise damaged(f"its header states the shape {levels.shape}, its image data has {decoded.shape}")
    return surplus
