"""DICOM results as files of a directory."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
from msgspec import UNSET
from pydicom.errors import InvalidDicomError
from pydicom.filereader import read_file_meta_info

from cxr_edge.errors import InvalidHeader, NotDicom
from cxr_edge.model.provenance import Provenance
from cxr_edge.model.record import ResultRecord
from cxr_edge.outputs.base import Analysis
from cxr_edge.outputs.dicom.capture import capture_uid
from cxr_edge.outputs.dicom.header import KEY_DIGITS
from cxr_edge.outputs.dicom.objects import CAPTURE, OUTLINES, REPORT, SUFFIX, DicomObjects
from cxr_edge.outputs.dicom.presentation_state import state_uid
from cxr_edge.outputs.dicom.report import report_uid
from cxr_edge.support.files import write_atomically
from cxr_edge.support.warnings import CodedWarning


class DicomDirectory:
    """DICOM results as files of a directory. An image without DICOM results gets a warning, and its other outputs.

    Parameters
    ----------
    directory : Path
    overlays, colormap
        See `DicomObjects`.
    provenance : Provenance
        Of the results that will be written.
    """

    def __init__(self, directory: Path, overlays: int, colormap: str, provenance: Provenance) -> None:
        self._directory, self._overlays, self._colormap = directory, overlays, colormap
        self._provenance = provenance
        self._kept: dict[str, set[str]] = {}
        for file in directory.glob("*.dcm"):
            self._kept.setdefault(file.name[:KEY_DIGITS], set()).add(file.name)

    @property
    def needs_heatmaps(self) -> bool:
        """Whether any overlay is drawn."""
        return self._overlays > 0

    def write(self, analysis: Analysis, record: ResultRecord) -> ResultRecord:
        """Write the objects of one image, and remove those that an earlier run with other settings left."""

        def store(name: str, data: bytes) -> None:
            write_atomically(self._directory / name, data, source=analysis.name)

        try:
            written = DicomObjects(store, self._overlays, self._colormap).write(analysis, record)
        except (NotDicom, InvalidHeader) as error:
            warning = CodedWarning("no_dicom_results", f"no DICOM results: {error}")
            return msgspec.structs.replace(record, dicom=(), warnings=(*record.warnings, warning))
        self._remove_others(written)
        return written

    def _remove_others(self, record: ResultRecord) -> None:
        """Remove the objects of the same image that another run left."""
        if record.dicom is UNSET or not record.dicom:
            return
        prefix, names = record.dicom[0][:KEY_DIGITS], set(record.dicom)
        for name in self._kept.get(prefix, set()) - names:
            if name in {f"{prefix}{REPORT}", f"{prefix}{OUTLINES}"} or name.startswith(f"{prefix}{CAPTURE}"):
                (self._directory / name).unlink(missing_ok=True)
        self._kept[prefix] = names

    def is_complete(self, record: ResultRecord) -> bool:
        """Return whether the files that a record names exist, and are those of these settings.

        Their names depend on the image alone: another run may have written its own results there since.
        """
        return record.dicom is not UNSET and all(
            _uid_of(self._directory / name) == uid for name, uid in self._expected(record.dicom)
        )

    def _expected(self, names: Sequence[str]) -> Iterator[tuple[str, str]]:
        """Yield the names of an image's files, with the UIDs of their objects."""
        key = names[0][:KEY_DIGITS] if names else ""
        start, end = len(key) + len(CAPTURE), -len(SUFFIX)
        labels = [name[start:end] for name in names if name.startswith(CAPTURE, len(key))]
        captures = iter(labels)
        for name in names:
            if name == f"{key}{REPORT}":
                yield name, report_uid(self._provenance, key)
            elif name == f"{key}{OUTLINES}":
                yield name, state_uid(self._provenance, key, labels)
            else:
                yield name, capture_uid(self._provenance, key, next(captures), self._colormap)


def _uid_of(file: Path) -> str | None:
    """Return the UID of the object in a file; None if there is none."""
    try:
        return str(read_file_meta_info(file).MediaStorageSOPInstanceUID)
    except (OSError, InvalidDicomError, AttributeError):
        return None
