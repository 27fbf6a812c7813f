"""Whether a watched file is whole: a copy may stall half-way, or set its space aside before it fills it."""

import os
from typing import Final

from pydicom.uid import DeflatedExplicitVRLittleEndian

from cxr_edge import images
from cxr_edge.images.dicom.header.parse import parse
from cxr_edge.images.limits import InputLimits
from cxr_edge.outputs.dicom.header import is_dicom

#: How programs that transfer files name them until they are whole: rsync, rclone, browsers, WinSCP, Syncthing and
#: others. Names that start with a dot are not listed at all.
TEMPORARY_SUFFIXES: Final = (
    ".part", ".partial", ".filepart", ".tmp", ".temp", ".crdownload", ".download", ".upload", ".uploading",
    ".incomplete", ".inprogress", "~",
)  # fmt: skip
_TEMPORARY_PREFIX: Final = "~"
#: Zeros at the end of uncompressed pixels that may be space set aside: a disk's smallest block.
_TAIL: Final = 512
#: Zeros within compressed data that may be: a page, which an encoder hardly fills even for an area without contrast.
_PAGE: Final = 4096


def is_temporary(path: str) -> bool:
    """Return whether a file has the name of a transfer that is not finished."""
    name = os.path.basename(path).lower()
    return name.startswith(_TEMPORARY_PREFIX) or name.endswith(TEMPORARY_SUFFIXES)


def check_whole(data: bytes, limits: InputLimits) -> None:
    """Decode a file to its end.

    Raises
    ------
    InputError
        It is cut off, or cannot be used for another reason.
    """
    images.decode(data, limits)


def may_be_unfilled(path: str, data: bytes, limits: InputLimits) -> bool:
    """Return whether a file that can be decoded may contain space that is not filled yet.

    PNG and JPEG files end with a marker, and PNG has checksums. In DICOM, zeros are black in uncompressed pixels, and
    decoders of compressed or deflated ones may read over them, as nothing there is checked.

    Parameters
    ----------
    path : str
    data : bytes
        Its content, of which `check_whole` approves.
    limits : InputLimits
    """
    if not is_dicom(data):
        return False
    encoded = parse(data, limits)
    if encoded.encapsulated or encoded.syntax == DeflatedExplicitVRLittleEndian:
        return bytes(_PAGE) in data or _has_hole(path)
    return not any(encoded.pixels[-_TAIL:]) or _has_hole(path)


def _has_hole(path: str) -> bool:
    """Return whether the file system has parts of the file that were never written."""
    if not hasattr(os, "SEEK_HOLE"):
        return False
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return os.lseek(descriptor, 0, os.SEEK_HOLE) < os.fstat(descriptor).st_size
    except OSError:  # the file system cannot say
        return False
    finally:
        os.close(descriptor)
