"""Read values that pydicom was told to leave in the file (``defer_size``)."""

import os
from typing import BinaryIO, cast

from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.filereader import read_deferred_data_element

from cxr_edge.errors import Unreadable


def read_deferred(dataset: Dataset, element: RawDataElement) -> RawDataElement:
    """Read the value of an element from where its data set came from.

    pydicom does so on access, but it only warns where the file has changed since.

    Raises
    ------
    Unreadable
        The source is gone, closed or changed.
    """
    try:
        source = _source(dataset)
        return read_deferred_data_element(dataset.fileobj_type, source, None, element)
    except Exception as error:  # whatever the bytes of another file lead pydicom to, or the caller's object raises
        raise Unreadable(
            f"expected the source of the data set as it was read, since values were deferred; it cannot be read any "
            f"more ({type(error).__name__}); read the data set without defer_size"
        ) from None


def _source(dataset: Dataset) -> str | BinaryIO:
    """Return the open file object, or else the path of the unchanged file."""
    if dataset.buffer is not None and not getattr(dataset.buffer, "closed", False):
        return cast(BinaryIO, dataset.buffer)
    if dataset.timestamp is not None and os.stat(dataset.filename).st_mtime != dataset.timestamp:
        raise OSError("changed")
    return cast(str, dataset.filename)
