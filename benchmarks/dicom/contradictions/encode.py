"""Encode cells in every transfer syntax, and write the file."""

import io
from collections.abc import Callable
from typing import Final

import imagecodecs
import numpy as np
import pydicom
from pydicom.encaps import encapsulate
from pydicom.uid import UID, ExplicitVRBigEndian, ImplicitVRLittleEndian

from benchmarks.dicom.contradictions.made import BASELINE, EXTENDED, NATIVE, RLE, Cells, Made
from benchmarks.dicom.dicom_files import rle

Encoder = Callable[[Cells, int, bool], bytes]


def _jpeg_2000(cells: Cells, precision: int, signed: bool) -> bytes:
    samples = cells & np.array((1 << precision) - 1, cells.dtype)
    if signed:
        unused = 8 * cells.dtype.itemsize - precision
        samples = (samples << unused).view(f"i{cells.dtype.itemsize}") >> unused
    return bytes(
        imagecodecs.jpeg2k_encode(samples, level=0, reversible=True, codecformat="j2k", bitspersample=precision)
    )


def _htj2k(cells: Cells, _: int, signed: bool) -> bytes:
    return bytes(imagecodecs.htj2k_encode(cells.view(f"i{cells.dtype.itemsize}") if signed else cells))


#: Transfer syntax → encoder of grey cells, and whether it can state any precision.
GREY: Final[dict[str, tuple[Encoder, bool]]] = {
    BASELINE: (lambda cells, *_: bytes(imagecodecs.jpeg8_encode(cells, level=100)), False),
    EXTENDED: (lambda cells, *_: bytes(imagecodecs.jpeg8_encode(cells, level=100, bitspersample=12)), False),
    "1.2.840.10008.1.2.4.57": (
        lambda cells, bits, _: bytes(
            imagecodecs.jpeg8_encode(_masked(cells, bits), lossless=True, bitspersample=bits, predictor=1)
        ),
        True,
    ),
    "1.2.840.10008.1.2.4.70": (
        lambda cells, bits, _: bytes(imagecodecs.ljpeg_encode(_masked(cells, bits), bitspersample=bits)),
        True,
    ),
    "1.2.840.10008.1.2.4.80": (lambda cells, *_: bytes(imagecodecs.jpegls_encode(cells)), False),
    "1.2.840.10008.1.2.4.90": (_jpeg_2000, True),
    "1.2.840.10008.1.2.4.201": (_htj2k, False),
    RLE: (lambda cells, *_: rle(cells), False),
}


def _masked(cells: Cells, bits: int) -> Cells:
    """Keep the lowest bits, in as few bytes as they need: the encoders take no others."""
    return (cells & np.array((1 << bits) - 1, cells.dtype)).astype(np.uint8 if bits == 8 else cells.dtype)


def native(cells: Cells, syntax: str, vr: str, *, planar: bool) -> bytes:
    """Return uncompressed cells in the byte order of a syntax, with a byte of padding where needed."""
    flat = (np.moveaxis(cells, -1, 0) if planar else cells).reshape(-1)
    data = (flat.astype(">u2") if syntax == ExplicitVRBigEndian and flat.itemsize == 2 else flat).tobytes()
    data += b"\0" * (len(data) % 2)
    if syntax == ExplicitVRBigEndian and flat.itemsize == 1 and vr == "OW":
        return np.frombuffer(data, np.uint16).byteswap().tobytes()
    return data


def written(made: Made) -> bytes:
    """Return the file."""
    ds, syntax = made.dataset, made.syntax
    ds.file_meta.TransferSyntaxUID = UID(syntax)
    ds.file_meta.MediaStorageSOPClassUID, ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPClassUID, ds.SOPInstanceUID
    vr = ds["PixelData"].VR
    if syntax in NATIVE:
        ds.PixelData = made.pixels
        ds["PixelData"].VR = vr
    else:
        ds.PixelData = _fragments(made)
        ds["PixelData"].VR, ds["PixelData"].is_undefined_length = "OB", True
    buffer = io.BytesIO()
    pydicom.dcmwrite(
        buffer,
        ds,
        implicit_vr=syntax == ImplicitVRLittleEndian,
        little_endian=syntax != ExplicitVRBigEndian,
        enforce_file_format=True,
    )
    return buffer.getvalue()


def _fragments(made: Made) -> bytes:
    frames = [made.pixels] * (2 if "two frames" in made.changes else 1)
    per_frame = 2 if "two fragments" in made.changes else 1
    return encapsulate(frames, fragments_per_frame=per_frame, has_bot="no offsets" not in made.changes)
