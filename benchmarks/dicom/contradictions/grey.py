"""Make honest grey files: cells of any bits, sign and alignment, in any syntax."""

import numpy as np
import numpy.typing as npt

from benchmarks.dicom.contradictions.encode import GREY, native
from benchmarks.dicom.contradictions.made import BASELINE, EXTENDED, JPEG_2000, NATIVE, Cells, Made, Values
from benchmarks.dicom.dicom_files import image

Picture = npt.NDArray[np.float64]


def grey_file(picture: Picture, rng: np.random.Generator) -> Made:
    """Make a file of a picture, (H, W) from 0 to 1; its header is honest."""
    bits = int(rng.choice([8, 8, 9, 10, 12, 12, 13, 14, 15, 16]))
    allocated = 8 if bits == 8 and rng.random() < 0.6 else 16
    syntax = str(rng.choice(_syntaxes(bits, allocated)))
    lossy = syntax in (BASELINE, EXTENDED)
    signed = bool(rng.random() < 0.25) and not lossy
    values = (np.rint(picture * (2**bits - 1)) - signed * 2 ** (bits - 1)).astype(np.int32)
    shift = 0 if lossy or rng.random() < 0.8 else allocated - bits
    cells = _cells(values, bits, allocated, shift, rng)
    changes = []
    if not lossy and bits < allocated and rng.random() < 0.2:
        cells = _with_stray_bits(cells, bits, shift, rng, changes)
    ds = image(cells, bits=bits, HighBit=bits - 1 + shift, PixelRepresentation=int(signed))
    ds.PhotometricInterpretation = str(rng.choice(["MONOCHROME1", "MONOCHROME2"]))
    ds.WindowCenter, ds.WindowWidth = (0 if signed else 2 ** (bits - 1)), 2**bits
    precision = _precision(cells, syntax, rng, bits if not shift and not changes else allocated)
    made = Made(ds, syntax, cells, values, precision, changes=changes)
    made.signed_stream = syntax in JPEG_2000 and bool(signed != (rng.random() < 0.15))
    if syntax in JPEG_2000 and made.signed_stream != signed:
        changes.append("sign of the codestream")
    return made


def encode(made: Made) -> None:
    """Encode the cells as the codestream states them."""
    planar = made.cells.ndim == 3 and made.dataset.get("PlanarConfiguration") == 1
    if made.syntax in NATIVE:
        made.pixels = native(made.cells, made.syntax, made.dataset["PixelData"].VR, planar=planar)
    else:
        made.pixels = GREY[made.syntax][0](made.cells, made.precision, made.signed_stream)


def _syntaxes(bits: int, allocated: int) -> list[str]:
    lossy = {BASELINE: bits == 8 and allocated == 8, EXTENDED: bits == 12}
    return [*map(str, NATIVE), *(syntax for syntax in GREY if lossy.get(syntax, True))]


def _cells(values: Values, bits: int, allocated: int, shift: int, rng: np.random.Generator) -> Cells:
    """Encode values as cells; where they are negative, with or without their sign extended."""
    patterns = values if rng.random() < 0.5 else values & (1 << bits) - 1
    dtype = np.uint8 if allocated == 8 else np.uint16
    return ((patterns.astype(np.int64) << shift) & (1 << allocated) - 1).astype(dtype)


def _with_stray_bits(cells: Cells, bits: int, shift: int, rng: np.random.Generator, changes: list[str]) -> Cells:
    """Set bits outside the stored ones: an overlay, a constant, or noise."""
    outside = np.uint16(0xFFFF & ~(((1 << bits) - 1) << shift))
    kind = str(rng.choice(["overlay", "constant", "noise"]))
    changes.append(f"stray bits: {kind}")
    stray = np.zeros_like(cells)
    if kind == "overlay":
        height, width = cells.shape
        stray[height // 4 : height // 2, width // 5 : width // 2] = outside
    elif kind == "constant":
        stray[:] = outside
    else:
        stray[:] = rng.integers(0, 65536, cells.shape, np.uint16)
    kept = cells & ~outside
    return kept | (stray & outside)


def _precision(cells: Cells, syntax: str, rng: np.random.Generator, bits: int) -> int:
    """Choose the bits that the codestream states: the stored ones, those of a cell, or some between."""
    allocated = 8 * cells.dtype.itemsize
    if syntax == EXTENDED:
        return 12
    if syntax not in GREY or not GREY[syntax][1]:
        return allocated
    return int(rng.choice([bits, allocated, rng.integers(bits, allocated + 1)]))
