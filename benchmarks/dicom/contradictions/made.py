"""What a made file is, and how a header reads its cells; nothing here calls the SDK."""

from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

DEFLATED: Final = "1.2.840.10008.1.2.1.99"
RLE: Final = "1.2.840.10008.1.2.5"
NATIVE: Final = (ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian, DEFLATED)
#: Syntaxes whose codestream states a sign.
JPEG_2000: Final = ("1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.201")
#: Lossy syntaxes.
BASELINE: Final = "1.2.840.10008.1.2.4.50"
EXTENDED: Final = "1.2.840.10008.1.2.4.51"

Values = npt.NDArray[np.int32]
Cells = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]


@dataclass
class Made:
    """A file in the making.

    Attributes
    ----------
    dataset : Dataset
        The header; honest until it is changed.
    syntax : str
    cells : ndarray, (H, W) or (H, W, 3), uint8 or uint16
        What is encoded.
    truth : ndarray, (H, W) int32, or None
        The stored values that were encoded; None for an image in colour, which must be refused.
    precision : int
        Bits that the codestream states.
    signed_stream : bool
        The codestream states a sign; JPEG 2000 only.
    changes : list of str
        What was changed.
    pixels : bytes
        The encoded value of Pixel Data, or its codestream.
    """

    dataset: Dataset
    syntax: str
    cells: Cells
    truth: Values | None
    precision: int
    signed_stream: bool = False
    changes: list[str] = field(default_factory=list)
    pixels: bytes = b""

    @property
    def is_lossy(self) -> bool:
        """Whether the codestream changes the levels."""
        return self.syntax in (BASELINE, EXTENDED)


def stored_values(cells: Cells, bits: int, high_bit: int, *, signed: bool) -> Values:
    """Return the values of cells by a header (PS3.5, 8.1.1)."""
    values = cells.astype(np.int64) >> (high_bit + 1 - bits) & (1 << bits) - 1
    return np.asarray(np.where(signed & (values >> (bits - 1) == 1), values - (1 << bits), values), dtype=np.int32)


def readings(made: Made) -> list[Values]:
    """Return what the file may be read as without a warning.

    That is what was encoded. Where the header states something else, and nothing in the file
    contradicts it, that is it too: every bit of the cells is then one that the header states.
    """
    if made.truth is None:
        return []
    found = [made.truth]
    ds = made.dataset
    bits, high, signed = ds.get("BitsStored"), ds.get("HighBit"), bool(ds.get("PixelRepresentation"))
    other_sign = made.syntax in JPEG_2000 and signed != made.signed_stream
    if made.cells.ndim == 2 and 1 <= bits <= high + 1 <= made.precision and not other_sign:
        by_header = stored_values(made.cells, bits, high, signed=signed)
        if _has_all_bits(by_header, made, high + 1 - bits):
            found.append(by_header)
    shape = (ds.get("Rows"), ds.get("Columns"))
    if made.syntax in (*NATIVE, RLE):
        return [values.reshape(shape) for values in found if values.size == shape[0] * shape[1]]
    return [values for values in found if values.shape == shape]


def _has_all_bits(values: Values, made: Made, low_bit: int) -> bool:
    """Return whether values are encoded as the cells are, their sign extended or not."""
    cell = (1 << made.precision) - 1
    bits = made.dataset.BitsStored
    return any(
        np.array_equal((encoded << low_bit) & cell, made.cells & cell) for encoded in (values, values & (1 << bits) - 1)
    )
