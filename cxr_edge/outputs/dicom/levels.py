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

from cxr_edge.images.dicom import tags
from cxr_edge.images.dicom.presentation import Display, LookUp, Rescale, Window


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
        table = _table(display.modality, display.modality.data, signed=display.signed)
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
        item.VOILUTSequence = [_table(display.voi, _widened(display.voi), signed=display.signed_output)]
        return item
    item.WindowCenter, item.WindowWidth = decimal(display.voi.center), decimal(display.voi.width)
    if display.voi.function == "SIGMOID":
        item.VOILUTFunction = display.voi.function
    return item


def _widened(table: LookUp) -> bytes:
    """Return a table's words: entries scaled to 16 bits, or unchanged where each word holds two of 8 bits."""
    if table.packed:
        return table.data
    most = 2**table.bits - 1
    entries = np.minimum(np.frombuffer(table.data, "<u2"), most)
    return bytes(np.rint(entries * (65535 / most)).astype("<u2").tobytes())


def _table(table: LookUp, words: bytes, *, signed: bool) -> Dataset:
    """Return a table as 8-bit packed or 16-bit entries; only the second number of its descriptor is signed."""
    item = Dataset()
    bits = 8 if table.packed else 16
    descriptor = struct.pack("<HhH" if signed else "<HHH", table.count, table.first, bits)
    item[tags.LUT_DESCRIPTOR] = RawDataElement(
        Tag(tags.LUT_DESCRIPTOR), "SS" if signed else "US", len(descriptor), descriptor, 0,
        is_implicit_VR=False, is_little_endian=True,
    )  # fmt: skip
    item.add_new(tags.LUT_DATA, "OW", words)
    return item


def decimal(number: float) -> DSfloat:
    """Return a number in at most 16 characters, as VR DS requires.

    Raises
    ------
    ValueError
        The number is not finite.
    """
    return DSfloat(format_number_as_ds(float(number)))
