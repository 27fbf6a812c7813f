"""Read Orientation, the one EXIF tag that decoding needs (Exif 2.32, 4.6.4; TIFF 6.0, section 2)."""

import struct
from typing import Final

#: Prefix of EXIF data in JPEG's APP1 segment (Exif 2.32, 4.7.2); some writers put it into PNG's eXIf chunk too.
PREFIX: Final = b"Exif\0\0"

_ORIENTATION: Final = 0x0112
_BYTE_ORDERS: Final = {b"II*\0": "<", b"MM\0*": ">"}
_ENTRY: Final = 12  # bytes: tag, type, count, value
_INTEGERS: Final = {1: "B", 3: "H", 4: "L"}  # TIFF's BYTE, SHORT and LONG


def read_orientation(exif: bytes) -> int:
    """Return the Orientation in the first directory (IFD0) of EXIF data.

    Other tags, other directories and the values they point to are ignored.

    Parameters
    ----------
    exif : bytes
        A TIFF structure of either byte order, with or without `PREFIX`.

    Returns
    -------
    int
        As stored: 1 to 8 are defined. 1 if the tag is absent.

    Raises
    ------
    ValueError
        The data is not a TIFF structure, ends within the directory, or has an Orientation that is not one integer.
    """
    tiff = exif.removeprefix(PREFIX)
    order = _BYTE_ORDERS.get(tiff[:4])
    if order is None:
        raise ValueError(f"expected a TIFF header, got {tiff[:4]!r}")
    try:
        (start,) = struct.unpack_from(order + "L", tiff, 4)
        (count,) = struct.unpack_from(order + "H", tiff, start)
        for at in range(start + 2, start + 2 + count * _ENTRY, _ENTRY):
            tag, kind, values = struct.unpack_from(order + "HHL", tiff, at)
            if tag == _ORIENTATION:
                return _integer(tiff, at + 8, order, kind, values)
    except struct.error as error:
        raise ValueError("it ends within its first directory") from error
    return 1


def _integer(tiff: bytes, at: int, order: str, kind: int, values: int) -> int:
    if kind not in _INTEGERS or values != 1:
        raise ValueError(f"expected one integer as Orientation, got {values} of type {kind}")
    (value,) = struct.unpack_from(order + _INTEGERS[kind], tiff, at)
    return int(value)
