"""Transfer syntaxes and their decoders.

All codecs come from one permissively licensed package, imagecodecs, which wraps libjpeg-turbo
(JPEG, lossless JPEG), CharLS (JPEG-LS) and OpenJPEG (JPEG 2000, HTJ2K). It also wraps OpenJPH, which
decodes HTJ2K in half the time, but then the errors about a damaged stream are lost.
"""

from collections.abc import Callable
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from cxr_edge.images.dicom.codestreams.run_lengths import decode_run_lengths
from cxr_edge.images.dicom.codestreams.whole import decode_jpeg, decode_jpeg_ls
from cxr_edge.images.dicom.header import syntaxes


class Decoded(NamedTuple):
    """Samples, (H, W) or (H, W, samples), flat for run lengths; surplus bytes before the end marker."""

    samples: npt.NDArray[Any]
    surplus: int


#: Decodes a codestream.
Codec = Callable[[bytes], Decoded]


def _jpeg(stream: bytes) -> Decoded:
    return Decoded(*decode_jpeg(stream))


def _jpeg_ls(stream: bytes) -> Decoded:
    return Decoded(*decode_jpeg_ls(stream))


def _jpeg_2000(stream: bytes) -> Decoded:
    from imagecodecs import jpeg2k_decode

    return Decoded(np.asarray(jpeg2k_decode(stream)), 0)


#: Transfer syntaxes with codestreams of the JPEG family (PS3.5, A.4): name and codec.
CODECS: Final[dict[str, tuple[str, Codec]]] = {
    "1.2.840.10008.1.2.4.50": ("JPEG Baseline", _jpeg),
    "1.2.840.10008.1.2.4.51": ("JPEG Extended", _jpeg),
    "1.2.840.10008.1.2.4.57": ("JPEG Lossless", _jpeg),
    "1.2.840.10008.1.2.4.70": ("JPEG Lossless, first-order prediction", _jpeg),
    "1.2.840.10008.1.2.4.80": ("JPEG-LS Lossless", _jpeg_ls),
    "1.2.840.10008.1.2.4.81": ("JPEG-LS Near-Lossless", _jpeg_ls),
    "1.2.840.10008.1.2.4.90": ("JPEG 2000 Lossless", _jpeg_2000),
    "1.2.840.10008.1.2.4.91": ("JPEG 2000", _jpeg_2000),
    "1.2.840.10008.1.2.4.201": ("High-Throughput JPEG 2000 Lossless", _jpeg_2000),
    "1.2.840.10008.1.2.4.202": ("High-Throughput JPEG 2000 Lossless, RPCL", _jpeg_2000),
    "1.2.840.10008.1.2.4.203": ("High-Throughput JPEG 2000", _jpeg_2000),
}


def decode_samples(syntax: str, stream: bytes, bits_allocated: int) -> Decoded:
    """Decode a codestream in this process."""
    return Decoded(*decode_run_lengths(stream, bits_allocated)) if syntax == syntaxes.RLE else CODECS[syntax][1](stream)
