"""Bound what pydicom reads, prevent warnings that quote values, and map its exceptions to one."""

import io
from collections.abc import Callable
from typing import Final, TypeVar

from cxr_edge.errors import InputError, InvalidHeader, TooLarge

T = TypeVar("T")

#: Approximate number of `read` calls that pydicom makes for an element.
_READS_PER_ELEMENT: Final = 3
#: The tag of Specific Character Set, in both byte orders → a tag without a meaning. No text read here
#: depends on the character set, and pydicom warns about odd ones by quoting them, wherever they are nested.
_CHARACTER_SET: Final = {b"\x08\x00\x05\x00": b"\x09\x00\x05\x00", b"\x00\x08\x00\x05": b"\x00\x09\x00\x05"}
_ELEMENT_HEADER: Final = 8


class Metered(io.BytesIO):
    """Bytes as a file that allows a limited number of reads.

    Parameters
    ----------
    data : bytes
    max_elements : int
    """

    def __init__(self, data: bytes, max_elements: int) -> None:
        super().__init__(data)
        self._left = _READS_PER_ELEMENT * max_elements
        self._most = max_elements

    def read(self, size: int | None = -1) -> bytes:
        """Read, unless the number of reads is used up.

        Raises
        ------
        TooLarge
        """
        self._left -= 1
        if self._left < 0:
            raise TooLarge(
                f"expected at most about {self._most} attributes in the DICOM header, got more; "
                "raise max_header_elements if the image is right"
            )
        data = super().read(size)
        return _CHARACTER_SET.get(data[:4], data[:4]) + data[4:] if size == _ELEMENT_HEADER else data


def guarded(read: Callable[[], T]) -> T:
    """Call a function that reads with pydicom, and map its exceptions.

    Raises
    ------
    InvalidHeader
        pydicom raised an exception. Its text may quote the header, so only its kind is reported.
    """
    try:
        return read()
    except InputError:
        raise
    except RecursionError as error:
        raise InvalidHeader("the DICOM header nests sequences too deeply; export the image again") from error
    except Exception as error:  # pydicom raises whatever the bytes lead it to
        raise InvalidHeader(f"the DICOM header is damaged ({type(error).__name__}); copy the file again") from None
