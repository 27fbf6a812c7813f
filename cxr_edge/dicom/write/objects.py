"""All result objects of one film, and how they become files."""

import hashlib
import io
from dataclasses import dataclass
from typing import Final

import pydicom
from pydicom.dataset import Dataset

from cxr_edge.dicom.write.capture import secondary_capture
from cxr_edge.dicom.write.header import read_header
from cxr_edge.dicom.write.origin import Origin
from cxr_edge.dicom.write.presentation_state import presentation_state
from cxr_edge.dicom.write.report import structured_report
from cxr_edge.images import Film
from cxr_edge.reading import Reading
from cxr_edge.results import Result

_DIGITS: Final = 32


@dataclass(frozen=True)
class ResultObject:
    """One DICOM object, ready to be stored.

    Attributes
    ----------
    name : str
        File name, the same for the same film; nothing of the patient.
    sop_class, sop_instance : str
        UIDs.
    data : bytes
        The file (PS3.10).
    """

    name: str
    sop_class: str
    sop_instance: str
    data: bytes


def write_objects(
    data: bytes, film: Film, result: Result, origin: Origin, reading: Reading, *, overlays: int, colormap: str
) -> list[ResultObject]:
    """Write what a model says about a DICOM film as DICOM objects.

    Parameters
    ----------
    data : bytes
        The film's file.
    film : Film
        Decoded from it.
    result : Result
        With heat maps, if `overlays` is above 0.
    origin : Origin
    reading : Reading
    overlays : int
        Positive findings, the most probable first, that are drawn and outlined, at most.
    colormap : str
        One of `cxr_edge.gradcam.COLORMAPS`.

    Returns
    -------
    list of ResultObject
        A structured report; for each finding drawn a Secondary Capture; and, if there is one, a presentation state.

    Raises
    ------
    NotDicom, InvalidHeader
        The film is no DICOM file, or does not say what it is.
    """
    header = read_header(data, reading)
    shown = [finding for finding in result.findings if finding.positive][:overlays]
    shown = [finding for finding in shown if result.map_of(finding.label).any()]
    prefix = hashlib.sha256(header.instance.encode()).hexdigest()[:_DIGITS]
    objects = [_file(f"{prefix}-report.dcm", structured_report(header, result, origin))]
    for number, finding in enumerate(shown, 1):
        capture = secondary_capture(header, film.pixels, result, finding, origin, number=number, colormap=colormap)
        objects.append(_file(f"{prefix}-overlay-{finding.label}.dcm", capture))
    if shown:
        objects.append(_file(f"{prefix}-outlines.dcm", presentation_state(header, result, shown, origin)))
    return objects


def _file(name: str, made: Dataset) -> ResultObject:
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, made, enforce_file_format=True)
    return ResultObject(name, str(made.SOPClassUID), str(made.SOPInstanceUID), buffer.getvalue())
