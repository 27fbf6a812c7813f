"""All DICOM result objects of one image, and writing them as files."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import msgspec
from msgspec import UNSET
from pydicom.uid import GrayscaleSoftcopyPresentationStateStorage, SecondaryCaptureImageStorage

from cxr_edge.errors import InvalidHeader
from cxr_edge.images import DecodedImage
from cxr_edge.images.dicom.header import tags
from cxr_edge.images.dicom.header.elements import name_of
from cxr_edge.model.provenance import Provenance
from cxr_edge.model.record import ResultRecord
from cxr_edge.model.results import Finding, Result
from cxr_edge.outputs.base import Analysis
from cxr_edge.outputs.dicom.capture import capture_uid, secondary_capture
from cxr_edge.outputs.dicom.header import Header, read_header, timezone_of
from cxr_edge.outputs.dicom.prepared import moment_of
from cxr_edge.outputs.dicom.presentation_state import presentation_state, state_uid
from cxr_edge.outputs.dicom.report import CLASSES, report_uid, structured_report
from cxr_edge.support.warnings import CodedWarning

#: What follows the image's key in the name of a file; after `CAPTURE` comes the label.
REPORT: Final = "-report.dcm"
CAPTURE: Final = "-overlay-"
OUTLINES: Final = "-outlines.dcm"
SUFFIX: Final = ".dcm"


@dataclass(frozen=True)
class ResultObject:
    """One DICOM object, ready to be stored.

    Attributes
    ----------
    name : str
        File name; the same for the same image, without patient data.
    sop_class, sop_instance : str
        UIDs.
    data : bytes
        The file (PS3.10).
    warnings : tuple of CodedWarning
        Only of the report: objects that could not be written beside it.
    """

    name: str
    sop_class: str
    sop_instance: str
    data: bytes
    warnings: tuple[CodedWarning, ...] = ()


class DicomObjects:
    """DICOM results: structured report, captures of overlays and presentation state, passed to a storing function.

    Parameters
    ----------
    store : callable
        (name, bytes of the file) → None.
    overlays : int
        Largest number of positive findings, the most probable first, that are drawn and outlined.
    colormap : str
        One of `cxr_edge.model.heatmaps.COLORMAPS`.
    """

    def __init__(self, store: Callable[[str, bytes], None], overlays: int, colormap: str) -> None:
        self._store, self._overlays, self._colormap = store, overlays, colormap

    @property
    def needs_heatmaps(self) -> bool:
        """Whether any overlay is drawn."""
        return self._overlays > 0

    def write(self, analysis: Analysis, record: ResultRecord) -> ResultRecord:
        """Write the objects of one image.

        Raises
        ------
        NotDicom, InvalidHeader
            The image is not DICOM, or its header lacks a valid UID.
        """
        objects = write_objects(analysis, overlays=self._overlays, colormap=self._colormap)
        for made in objects:
            self._store(made.name, made.data)
        warnings = (warning for made in objects for warning in made.warnings)
        names = tuple(made.name for made in objects)
        return msgspec.structs.replace(record, dicom=names, warnings=(*record.warnings, *warnings))

    def is_complete(self, record: ResultRecord) -> bool:
        """Return whether a record names its objects; only the storing function knows whether they exist."""
        return record.dicom is not UNSET


def write_objects(analysis: Analysis, *, overlays: int, colormap: str) -> list[ResultObject]:
    """Write the result of a DICOM image as DICOM objects.

    Parameters
    ----------
    analysis : Analysis
        With heat maps, if `overlays` is above 0.
    overlays, colormap
        See `DicomObjects`.

    Returns
    -------
    list of ResultObject
        A structured report; a Secondary Capture of each finding that is drawn; and, if any is drawn and the image has
        one sample per pixel, a presentation state.

    Raises
    ------
    NotDicom, InvalidHeader
        The image is not DICOM, or its header lacks a valid UID.
    """
    image, result, provenance = analysis.image, analysis.result, analysis.provenance
    header = read_header(image)
    prefix, moment = header.key, moment_of(header)
    shown = [finding for finding in result.findings if finding.positive][:overlays]
    shown = [finding for finding in shown if result.map_of(finding.label).any()]
    captures = [
        ResultObject(
            _capture_name(prefix, finding.label),
            SecondaryCaptureImageStorage,
            capture_uid(provenance, prefix, finding.label, colormap),
            secondary_capture(
                header, image.pixels, result, finding, provenance, moment, number=number, colormap=colormap
            ),
        )
        for number, finding in enumerate(shown, 1)
    ]
    outlines, warnings = _outlines(header, image, result, shown, provenance, moment)
    warnings += _timezone_warnings(header)
    report = structured_report(header, result, provenance, moment)
    made = ResultObject(f"{prefix}{REPORT}", CLASSES[0], report_uid(provenance, prefix), report, warnings)
    return [made, *captures, *outlines]


def _capture_name(prefix: str, label: str) -> str:
    return f"{prefix}{CAPTURE}{label}{SUFFIX}"


def _outlines(
    header: Header,
    image: DecodedImage,
    result: Result,
    shown: Sequence[Finding],
    provenance: Provenance,
    moment: datetime,
) -> tuple[list[ResultObject], tuple[CodedWarning, ...]]:
    """Return the presentation state, if any, or a warning with the reason: the report is written in any case."""
    if not shown:
        return [], ()
    if image.display is None:  # PS3.3, A.33.1: for monochrome images only
        return [], (_no_outlines("a presentation state needs an image with one sample per pixel, this one has three"),)
    try:
        state = presentation_state(header, image.display, result, shown, provenance, moment)
    except (InvalidHeader, ValueError, TypeError) as error:  # a library's text may quote the header's values
        why = str(error) if isinstance(error, InvalidHeader) else type(error).__name__
        return [], (_no_outlines(f"the image's header has values that a presentation state cannot hold ({why})"),)
    uid = state_uid(provenance, header.key, [finding.label for finding in shown])
    return [ResultObject(f"{header.key}{OUTLINES}", GrayscaleSoftcopyPresentationStateStorage, uid, state)], ()


def _timezone_warnings(header: Header) -> tuple[CodedWarning, ...]:
    if not header.elements.text(tags.TIMEZONE) or timezone_of(header.elements) is not None:
        return ()
    message = (
        f"expected an offset such as +0100 in {name_of(tags.TIMEZONE)}, got another value: the DICOM results name no "
        "time zone, and their times are those of this machine; check its times against the study's"
    )
    return (CodedWarning("timezone_ignored", message),)


def _no_outlines(why: str) -> CodedWarning:
    return CodedWarning("no_presentation_state", f"no outlines: {why}")
