"""Look-up tables of a header (PS3.3, C.11.1.1 and C.11.2.1.1).

Scanners write descriptors that do not match their tables: 16 bits for entries of 12, 0 or too many entries, a first
value of the wrong sign. So the entries decide, and a warning states what the descriptor says.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from cxr_edge.errors import InvalidHeader
from cxr_edge.images.dicom.header import tags
from cxr_edge.images.dicom.header.elements import Elements
from cxr_edge.images.dicom.header.remarks import Remarks

#: Entries have at least so many bits (PS3.3, C.11.1.1).
_FEWEST_BITS: Final = 8
_WORD: Final = 2**16


@dataclass(frozen=True)
class LookUp:
    """A look-up table.

    Attributes
    ----------
    first : int
        The value that the first entry is for.
    bits : int
        Bits of an entry, as the descriptor states them; they may be wrong.
    data : bytes
        Entries: 16-bit words, little endian.
    """

    first: int
    bits: int
    data: bytes

    @property
    def entries(self) -> npt.NDArray[np.uint16]:
        """Entries, (N,) uint16."""
        return np.frombuffer(self.data, "<u2").astype(np.uint16, copy=False)

    @property
    def needed(self) -> int:
        """Bits that the entries need."""
        return max(_FEWEST_BITS, int(self.entries.max()).bit_length())

    @property
    def white(self) -> int:
        """The entry that is shown white: the highest of the stated bits, or of the entries where these do not fit."""
        return 2**self.bits - 1 if self.bits == self.needed else int(self.entries.max())

    def of(self, values: npt.NDArray[np.float64] | npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        """Look values up; those below the first are taken as the first, those above the last as the last."""
        entries = self.entries.astype(np.float64)
        at = np.clip(np.rint(values) - self.first, 0, len(entries) - 1).astype(np.int64)
        return np.asarray(entries[at])

    def tell_bits(self, what: str, remarks: Remarks) -> None:
        """Warn where the stated bits are not those of the entries, which then determine what is white."""
        if self.bits != self.needed:
            remarks.add(
                "lut_bits",
                f"{what} states {self.bits} bits an entry, but its entries need {self.needed}: its highest entry is "
                "shown white; check the grey levels",
            )


def read_lut(item: Elements, extremes: tuple[float, float], what: str, remarks: Remarks) -> LookUp:
    """Read a look-up table.

    Parameters
    ----------
    item : Elements
        Item of the sequence.
    extremes : (float, float)
        The lowest and the highest value that the table can be applied to.
    what : str
        The table, for messages.
    remarks : Remarks
        Gets a warning if the number of entries is not the stated one.

    Raises
    ------
    InvalidHeader
        The table cannot be used.
    """
    descriptor = item.words(tags.LUT_DESCRIPTOR)
    if len(descriptor) != 3:
        raise InvalidHeader(f"expected three numbers in LUT Descriptor, got {len(descriptor)}; export the image again")
    stated, first, bits = (number % _WORD for number in descriptor)
    words = (np.array(item.words(tags.LUT_DATA), dtype=np.int64) % _WORD).astype("<u2")
    entries = _entries(words, stated or _WORD)
    if len(entries) == 0 or not entries.any():
        raise InvalidHeader("expected a look-up table with entries above 0, got none; export the image again")
    if len(entries) != (stated or _WORD) or len(words) > len(entries):
        remarks.add(
            "lut_entries",
            f"{what} states {stated or _WORD} entries, but has {max(len(words), len(entries))}: {len(entries)} are "
            "used; check the grey levels",
        )
    return LookUp(_signed(first, extremes), bits, entries.tobytes())


def _entries(words: npt.NDArray[np.uint16], stated: int) -> npt.NDArray[np.uint16]:
    """Return the entries of a table: its words, or both bytes of each where entries of 8 bits are packed in pairs."""
    if 2 * len(words) in (stated, stated + 1):
        return words.view(np.uint8)[:stated].astype("<u2")
    return words[:stated]


def _signed(first: int, extremes: tuple[float, float]) -> int:
    """Return the first value with its sign, which its VR may not show: the values that the table is for decide."""
    low, high = extremes
    return first - _WORD if first >= _WORD // 2 and (low < 0 or first > high) else first
