"""The grey-level transformations of a presentation state (PS3.3, C.11.1, C.11.6, C.11.8).

The state describes how the image was decoded, not what its header states: decoding ignores a window that violates the
Standard, and chooses one where the header has none. highdicom's classes are not used: they declare 16 bits for a table
of 12, and refuse a table that begins below 0.
"""

import struct
from dataclasses import replace

import numpy as np
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import Tag
from pydicom.valuerep import DSfloat, format_number_as_ds

from cxr_edge.images.dicom.display.luts import LookUp
from cxr_edge.images.dicom.display.presentation import Display, Rescale
from cxr_edge.images.dicom.display.windows import Window
from cxr_edge.images.dicom.header import tags


def put_levels(state: Dataset, display: Display, modality_type: str) -> None:
    """Write the modality transformation, the VOI transformation and the inversion into a presentation state.

    Parameters
    ----------
    state : pydicom.Dataset
    display : Display
    modality_type : str
        Unit of the output of the modality LUT, if there is one (PS3.3, C.11.1.1.2).

    Raises
    ------
    ValueError
        A number is too large for the attribute.
    """
    display = _in_stored_values(display)
    if isinstance(display.modality, LookUp):
        table = _table(display.modality, signed=display.signed)
        table.ModalityLUTType = modality_type
        state.ModalityLUTSequence = [table]
    else:
        state.RescaleSlope = decimal(display.modality.slope)
        state.RescaleIntercept = decimal(display.modality.intercept)
        state.RescaleType = "US"
    state.SoftcopyVOILUTSequence = [_of_interest(display)]
    state.PresentationLUTShape = "INVERSE" if display.inverse else "IDENTITY"


def _in_stored_values(display: Display) -> Display:
    """Make a slope below 1 part of the window: viewers that round to whole numbers would lose grey levels."""
    modality, voi = display.modality, display.voi
    if isinstance(modality, LookUp) or isinstance(voi, LookUp) or abs(modality.slope) >= 1:
        return display
    half = 0.5 if voi.function == "LINEAR" else 0.0  # PS3.3, C.11.2.1.2.1
    center = (voi.center - half - modality.intercept) / modality.slope + half
    width = (voi.width - 2 * half) / abs(modality.slope) + 2 * half
    return replace(
        display,
        modality=Rescale(1, 0),
        voi=Window(center, width, voi.function),
        inverse=display.inverse != (modality.slope < 0),
    )


def _of_interest(display: Display) -> Dataset:
    item = Dataset()
    if isinstance(display.voi, LookUp):
        item.VOILUTSequence = [_table(_widened(display.voi), signed=display.signed_output)]
        return item
    item.WindowCenter, item.WindowWidth = decimal(display.voi.center), decimal(display.voi.width)
    if display.voi.function == "SIGMOID":
        item.VOILUTFunction = display.voi.function
    return item


def _widened(table: LookUp) -> LookUp:
    """Return a table whose white is that of 16 bits."""
    entries = np.minimum(table.entries, table.white)
    return replace(table, bits=16, data=np.rint(entries * (65535 / table.white)).astype("<u2").tobytes())


def _table(table: LookUp, *, signed: bool) -> Dataset:
    """Return a table as an item; only the second number of its descriptor may be signed.

    Entries that a byte can hold are packed in pairs: with 16 bits each, validators take them for an error.
    """
    first, entries = table.first, table.entries
    if first < 0 and not signed:  # no value is that low
        first, entries = 0, entries[-first:]
    bits = 8 if entries.max() < 256 else 16
    data = entries.astype("u1" if bits == 8 else "<u2").tobytes()
    count = len(entries) % 65536  # PS3.3, C.11.1.1: 0 means 65,536
    descriptor = struct.pack("<HhH" if signed else "<HHH", count, first, bits)
    item = Dataset()
    item[tags.LUT_DESCRIPTOR] = RawDataElement(
        Tag(tags.LUT_DESCRIPTOR), "SS" if signed else "US", len(descriptor), descriptor, 0,
        is_implicit_VR=False, is_little_endian=True,
    )  # fmt: skip
    item.add_new(tags.LUT_DATA, "OW", data + b"\0" * (len(data) % 2))
    return item


def decimal(number: float) -> DSfloat:
    """Return a number in at most 16 characters, as VR DS requires.

    Raises
    ------
    ValueError
        The number is not finite.
    """
    return DSfloat(format_number_as_ds(float(number)))
