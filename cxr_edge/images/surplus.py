"""Bytes that belong to no image: between its data and its end marker, and after the end marker."""

from typing import Final

from cxr_edge.support.warnings import CodedWarning

#: What programs and storage pad with: 0, 0xFF, blanks and line ends.
_PADDING: Final = b"\0\xff \r\n"
#: Bytes that are looked at together; they are copied.
_PIECE: Final = 2**20


def surplus_of(data: bytes, start: int, end: int) -> int:
    """Return the number of bytes in a range; 0 if all of them are padding."""
    pieces = (data[at : min(at + _PIECE, end)] for at in range(start, end, _PIECE))
    return end - start if any(piece.translate(None, _PADDING) for piece in pieces) else 0


def surplus_warnings(before: int, after: int) -> tuple[CodedWarning, ...]:
    """Warn of bytes that were not read.

    Parameters
    ----------
    before : int
        Surplus bytes before the end marker. They can also be a sign of damage, which ended the image data early.
    after : int
        Surplus bytes after the end marker, such as a second image.
    """
    warnings = []
    if before:
        message = (
            f"at least {before} bytes between the image data and their end marker belong to no pixel and are left "
            "out; the file may be damaged: look at the image"
        )
        warnings.append(CodedWarning("surplus_bytes", message))
    if after:
        message = (
            f"{after} bytes after the end marker of the image are left out; if they contain another image, "
            "send it in a file of its own"
        )
        warnings.append(CodedWarning("trailing_bytes", message))
    return tuple(warnings)
