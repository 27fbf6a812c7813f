"""All result objects of one image, and how they become files."""

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec
import pydicom
from msgspec import UNSET
from pydicom.dataset import Dataset

from cxr_edge.errors import InvalidHeader, NotDicom
from cxr_edge.images import DecodedImage
from cxr_edge.model.provenance import Provenance
from cxr_edge.model.record import ResultRecord
from cxr_edge.model.results import Finding, Result
from cxr_edge.outputs.base import Analysis
from cxr_edge.outputs.dicom.capture import secondary_capture
from cxr_edge.outputs.dicom.header import Header, read_header
from cxr_edge.outputs.dicom.presentation_state import presentation_state
from cxr_edge.outputs.dicom.report import structured_report
from cxr_edge.support.files import write_atomically
from cxr_edge.support.warnings import CodedWarning

_DIGITS: Final = 32
_REPORT: Final = "-report.dcm"
_OUTLINES: Final = "-outlines.dcm"


@dataclass(frozen=True)
class ResultObject:
    """One DICOM object, ready to be stored.

    Attributes
    ----------
    name : str
        File name, the same for the same image; nothing of the patient.
    sop_class, sop_instance : str
        UIDs.
    data : bytes
        The file (PS3.10).
    warnings : tuple of CodedWarning
        Of the report: what could not be written beside it.
    """

    name: str
    sop_class: str
    sop_instance: str
    data: bytes
    warnings: tuple[CodedWarning, ...] = ()


class DicomObjects:
    """DICOM results: a structured report, captures of overlays and a presentation state, handed to what stores them.

    Parameters
    ----------
    store : callable
        (name, bytes of the file) → None.
    overlays : int
        Positive findings, the most probable first, that are drawn and outlined, at most.
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
            The image is not DICOM, or does not say what it is.
        """
        objects = write_objects(analysis, overlays=self._overlays, colormap=self._colormap)
        for made in objects:
            self._store(made.name, made.data)
        warnings = (warning for made in objects for warning in made.warnings)
        names = tuple(made.name for made in objects)
        return msgspec.structs.replace(record, dicom=names, warnings=(*record.warnings, *warnings))

    def is_complete(self, record: ResultRecord) -> bool:
        """Return whether a record names its objects: whoever stores them knows whether they are there."""
        return record.dicom is not UNSET


class DicomDirectory:
    """DICOM results as files of a directory; an image that has none is warned of, and keeps its other outputs.

    Parameters
    ----------
    directory : Path
    overlays, colormap
        See `DicomObjects`.
    """

    def __init__(self, directory: Path, overlays: int, colormap: str) -> None:
        self._directory, self._overlays, self._colormap = directory, overlays, colormap

    @property
    def needs_heatmaps(self) -> bool:
        """Whether any overlay is drawn."""
        return self._overlays > 0

    def write(self, analysis: Analysis, record: ResultRecord) -> ResultRecord:
        """Write the objects of one image, and remove what an earlier run with other settings left."""

        def store(name: str, data: bytes) -> None:
            write_atomically(self._directory / name, data, source=analysis.name)

        try:
            written = DicomObjects(store, self._overlays, self._colormap).write(analysis, record)
        except (NotDicom, InvalidHeader) as error:
            none = CodedWarning("no_dicom_results", f"no DICOM results: {error}")
            return msgspec.structs.replace(record, dicom=(), warnings=(*record.warnings, none))
        for name in _other_names(written, analysis.provenance):
            (self._directory / name).unlink(missing_ok=True)
        return written

    def is_complete(self, record: ResultRecord) -> bool:
        """Return whether the files that a record names are there."""
        return record.dicom is not UNSET and all((self._directory / name).is_file() for name in record.dicom)


def write_objects(analysis: Analysis, *, overlays: int, colormap: str) -> list[ResultObject]:
    """Write what a model says about a DICOM image as DICOM objects.

    Parameters
    ----------
    analysis : Analysis
        With heat maps, if `overlays` is above 0.
    overlays, colormap
        See `DicomObjects`.

    Returns
    -------
    list of ResultObject
        A structured report; for each finding drawn a Secondary Capture; and, if there is one and the image is stored
        as one sample a pixel, a presentation state.

    Raises
    ------
    NotDicom, InvalidHeader
        The image is not DICOM, or does not say what it is.
    """
    image, result, provenance = analysis.image, analysis.result, analysis.provenance
    header = read_header(image)
    prefix = header.key[:_DIGITS]
    shown = [finding for finding in result.findings if finding.positive][:overlays]
    shown = [finding for finding in shown if result.map_of(finding.label).any()]
    captures = [
        _file(
            _capture_name(prefix, finding.label),
            secondary_capture(header, image.pixels, result, finding, provenance, number=number, colormap=colormap),
        )
        for number, finding in enumerate(shown, 1)
    ]
    outlines, warnings = _outlines(header, image, result, shown, provenance)
    report = _file(f"{prefix}{_REPORT}", structured_report(header, result, provenance), warnings)
    return [report, *captures, *outlines]


def _other_names(record: ResultRecord, provenance: Provenance) -> list[str]:
    """Return the names that results of the same image have with other settings, and that none of these has."""
    if record.dicom is UNSET or not record.dicom:
        return []
    prefix = record.dicom[0][:_DIGITS]
    captures = (_capture_name(prefix, label.name) for label in provenance.labels)
    return sorted({f"{prefix}{_REPORT}", f"{prefix}{_OUTLINES}", *captures} - set(record.dicom))


def _capture_name(prefix: str, label: str) -> str:
    return f"{prefix}-overlay-{label}.dcm"


def _outlines(
    header: Header, image: DecodedImage, result: Result, shown: Sequence[Finding], provenance: Provenance
) -> tuple[list[ResultObject], tuple[CodedWarning, ...]]:
    """Make the presentation state, if any; or say why there is none, for the report must come all the same."""
    if not shown:
        return [], ()
    if image.display is None:  # PS3.3, A.33.1: of monochrome images only
        return [], (_no_outlines("a presentation state is of an image with one sample a pixel, this one has three"),)
    try:
        state = presentation_state(header, image.display, result, shown, provenance)
        return [_file(f"{header.key[:_DIGITS]}{_OUTLINES}", state)], ()
    except (InvalidHeader, ValueError, TypeError) as error:  # a library's text may quote the header's values
        why = str(error) if isinstance(error, InvalidHeader) else type(error).__name__
        return [], (_no_outlines(f"the image's header cannot be followed in a presentation state ({why})"),)


def _no_outlines(why: str) -> CodedWarning:
    return CodedWarning("no_presentation_state", f"no outlines: {why}")


def _file(name: str, made: Dataset, warnings: tuple[CodedWarning, ...] = ()) -> ResultObject:
    return ResultObject(name, str(made.SOPClassUID), str(made.SOPInstanceUID), encoded(made), warnings)


def encoded(made: Dataset) -> bytes:
    """Give an object as the bytes of a file (PS3.10)."""
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, made, enforce_file_format=True)
    return buffer.getvalue()
