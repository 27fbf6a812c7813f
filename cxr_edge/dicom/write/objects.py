"""All result objects of one film, and how they become files."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import pydicom
from pydicom.dataset import Dataset

from cxr_edge.dicom.write import codes
from cxr_edge.dicom.write.capture import secondary_capture
from cxr_edge.dicom.write.header import Header, read_header
from cxr_edge.dicom.write.origin import Origin
from cxr_edge.dicom.write.presentation_state import presentation_state
from cxr_edge.dicom.write.report import structured_report
from cxr_edge.errors import InvalidHeader
from cxr_edge.images import Film
from cxr_edge.reading import Reading
from cxr_edge.results import Finding, Result

_DIGITS: Final = 32
_REPORT: Final = "-report.dcm"
_OUTLINES: Final = "-outlines.dcm"


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
    warnings : tuple of str
        Of the report: what could not be written beside it.
    """

    name: str
    sop_class: str
    sop_instance: str
    data: bytes
    warnings: tuple[str, ...] = ()


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
        A structured report; for each finding drawn a Secondary Capture; and, if there is one and the film is stored
        as one sample a pixel, a presentation state.

    Raises
    ------
    NotDicom, InvalidHeader
        The film is no DICOM file, or does not say what it is.
    """
    header = read_header(data, film, reading)
    prefix = header.key[:_DIGITS]
    shown = [finding for finding in result.findings if finding.positive][:overlays]
    shown = [finding for finding in shown if result.map_of(finding.label).any()]
    captures = [
        _file(
            _capture_name(prefix, finding.label),
            secondary_capture(header, film.pixels, result, finding, origin, number=number, colormap=colormap),
        )
        for number, finding in enumerate(shown, 1)
    ]
    outlines, warnings = _outlines(header, film, result, shown, origin)
    report = _file(f"{prefix}{_REPORT}", structured_report(header, result, origin), warnings)
    return [report, *captures, *outlines]


def other_names(objects: Sequence[ResultObject]) -> list[str]:
    """Give the names that results of the same film have with other settings, and that none of these has."""
    prefix = objects[0].name[:_DIGITS]
    every = [f"{prefix}{_REPORT}", f"{prefix}{_OUTLINES}", *(_capture_name(prefix, label) for label in codes.FINDINGS)]
    written = {made.name for made in objects}
    return [name for name in every if name not in written]


def _capture_name(prefix: str, label: str) -> str:
    return f"{prefix}-overlay-{label}.dcm"


def _outlines(
    header: Header, film: Film, result: Result, shown: Sequence[Finding], origin: Origin
) -> tuple[list[ResultObject], tuple[str, ...]]:
    """Make the presentation state, if any; or say why there is none, for the report must come all the same."""
    if not shown:
        return [], ()
    if film.display is None:  # PS3.3, A.33.1: of monochrome images only
        return [], ("no outlines: a presentation state is of a film with one sample a pixel, this one has three",)
    try:
        state = presentation_state(header, film.display, result, shown, origin)
        return [_file(f"{header.key[:_DIGITS]}{_OUTLINES}", state)], ()
    except (InvalidHeader, ValueError, TypeError) as error:  # a library's text may quote the header's values
        told = str(error) if isinstance(error, InvalidHeader) else type(error).__name__
        return [], (f"no outlines: the film's header cannot be followed in a presentation state ({told})",)


def _file(name: str, made: Dataset, warnings: tuple[str, ...] = ()) -> ResultObject:
    return ResultObject(name, str(made.SOPClassUID), str(made.SOPInstanceUID), encoded(made), warnings)


def encoded(made: Dataset) -> bytes:
    """Give an object as the bytes of a file (PS3.10)."""
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, made, enforce_file_format=True)
    return buffer.getvalue()
