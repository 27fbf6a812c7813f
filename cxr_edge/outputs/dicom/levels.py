"""How a presentation state says which grey level a stored value is shown as (PS3.3, C.11.1, C.11.6, C.11.8).

It says what reading did, and not what the image's header says: reading leaves out a window that breaks
the Standard's rules, and decides where there is none. highdicom's classes are passed by: they say 16
bits of a table that has 12, and refuse one that begins below 0.
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
        What the output of the modality LUT is, if there is one (PS3.3, C.11.1.1.2).

    Raises
    ------
    ValueError
        A number is too large to be written.
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
    """Make a slope below 1 a part of the window: viewers that count in whole numbers lose what it tells apart."""
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
    """Give a table's words, with entries of 16 bits that show the same unless two of 8 are in a word."""
    if table.packed:
        return table.data
    most = 2**table.bits - 1
    entries = np.minimum(np.frombuffer(table.data, "<u2"), most)
    return bytes(np.rint(entries * (65535 / most)).astype("<u2").tobytes())


def _table(table: LookUp, words: bytes, *, signed: bool) -> Dataset:
    """Write a table, as of 8 bits packed or of 16; only the second number of its descriptor is signed."""
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
    """Write a number in the 16 characters that there are for it.

    Raises
    ------
    ValueError
        It is not finite.
    """
    return DSfloat(format_number_as_ds(float(number)))
