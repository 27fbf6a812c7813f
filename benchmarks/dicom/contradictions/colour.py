"""Make honest files of grey that is stored as colour, and some of real colour."""

import struct
from collections.abc import Callable
from typing import Final

import imagecodecs
import numpy as np
import numpy.typing as npt

from benchmarks.dicom.contradictions.encode import native
from benchmarks.dicom.contradictions.grey import Picture
from benchmarks.dicom.contradictions.made import BASELINE, NATIVE, RLE, Made
from benchmarks.dicom.dicom_files import image, rle

Pixels = npt.NDArray[np.uint8]

_ADOBE, _JFIF = 0xEE, 0xE0


def colour_file(picture: Picture, rng: np.random.Generator) -> Made:
    """Make a file of a picture, (H, W) from 0 to 1, as RGB or as luma and chroma; its header is honest."""
    grey = np.rint(picture * 255).astype(np.uint8)
    luma_chroma = bool(rng.random() < 0.5)
    others = np.full_like(grey, 128) if luma_chroma else grey
    cells = np.dstack([grey, others, others])
    truth: npt.NDArray[np.int32] | None = grey.astype(np.int32)
    changes = []
    if rng.random() < 0.1:
        cells[: grey.shape[0] // 2, :, 1 + int(rng.integers(2))] ^= 0x80
        truth = None
        changes.append("colour")
    syntax = str(rng.choice([*map(str, NATIVE), *COLOUR]))
    ds = image(cells, PlanarConfiguration=int(rng.integers(2)) if syntax in NATIVE else 0)
    ds.PhotometricInterpretation = "YBR_FULL" if luma_chroma else "RGB"
    made = Made(ds, syntax, cells, truth, 8, changes=changes)
    made.pixels = (
        native(cells, syntax, "OB", planar=ds.PlanarConfiguration == 1)
        if syntax in NATIVE
        else COLOUR[syntax](cells, rng, made)
    )
    return made


def _baseline(cells: Pixels, rng: np.random.Generator, made: Made) -> bytes:
    """Encode the samples as they are, and state any colours: no marker, Adobe's, or JFIF's."""
    stream = _without_markers(imagecodecs.jpeg8_encode(cells, level=100, colorspace="RGB", outcolorspace="RGB"))
    kind = str(rng.choice(["nothing", "R, G, B", "Adobe 0", "Adobe 1", "JFIF"]))
    made.changes.append(f"markers: {kind}")
    if kind == "Adobe 0" or kind == "Adobe 1":
        return _with_segment(stream, _ADOBE, b"Adobe" + struct.pack(">HHHB", 100, 0, 0, int(kind[-1])))
    if kind == "JFIF":
        return _with_segment(stream, _JFIF, b"JFIF\0" + bytes([1, 1, 0, 0, 1, 0, 1, 0, 0]))
    return _named(stream, b"RGB") if kind == "R, G, B" else stream


def _without_markers(encoded: bytes) -> bytes:
    """Take out Adobe's segment, which comes first, and number the components."""
    length = struct.unpack_from(">H", encoded, 4)[0]
    if encoded[2:4] != bytes([0xFF, _ADOBE]):
        raise RuntimeError("expected Adobe's segment first, as libjpeg writes it")
    return _named(encoded[:2] + encoded[4 + length :], b"\1\2\3")


def _with_segment(stream: bytes, marker: int, content: bytes) -> bytes:
    return stream[:2] + struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content + stream[2:]


def _named(stream: bytes, names: bytes) -> bytes:
    """Name the components in the frame and scan headers."""
    named = bytearray(stream)
    frame, scan = stream.index(b"\xff\xc0"), stream.index(b"\xff\xda")
    for at, name in enumerate(names):
        named[frame + 10 + 3 * at] = named[scan + 5 + 2 * at] = name
    return bytes(named)


def _lossless(cells: Pixels, *_: object) -> bytes:
    return bytes(imagecodecs.jpeg8_encode(cells, lossless=True, predictor=1))


def _jpeg_2000(cells: Pixels, rng: np.random.Generator, made: Made) -> bytes:
    transformed = bool(rng.random() < 0.5)
    if transformed and made.dataset.PhotometricInterpretation == "RGB":
        made.dataset.PhotometricInterpretation = "YBR_RCT"
    elif transformed:
        made.changes.append("transformed components")
    return bytes(imagecodecs.jpeg2k_encode(cells, level=0, reversible=True, codecformat="j2k", mct=transformed))


#: Transfer syntax → encoder of three samples per pixel.
COLOUR: Final[dict[str, Callable[[Pixels, np.random.Generator, Made], bytes]]] = {
    BASELINE: _baseline,
    "1.2.840.10008.1.2.4.70": _lossless,
    "1.2.840.10008.1.2.4.80": lambda cells, *_: bytes(imagecodecs.jpegls_encode(cells)),
    "1.2.840.10008.1.2.4.90": _jpeg_2000,
    RLE: lambda cells, *_: rle(cells),
}
