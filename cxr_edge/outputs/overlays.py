"""Heat-map overlays as files whose names do not collide."""

import hashlib
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec
from msgspec import UNSET

from cxr_edge.model.record import FindingRecord, ResultRecord
from cxr_edge.model.results import Finding, Result
from cxr_edge.outputs.base import Analysis
from cxr_edge.outputs.drawing import SUFFIXES, OverlayFormat, draw_overlay
from cxr_edge.support.files import write_atomically

FOLDER: Final = "heatmaps"
#: At the end of the name of an overlay of a finding below its threshold.
BELOW: Final = "~below_threshold"


class OverlayFiles:
    """Overlays of the most probable findings, positive or not, as files in ``heatmaps/`` of a results directory.

    Every one is of a finding in the record, which names its file: those below ``min_probability`` are added to it.

    Parameters
    ----------
    root : Path
        The results directory.
    count : int
        Overlays per image.
    colormap : str
        One of `cxr_edge.model.heatmaps.COLORMAPS`.
    encoding : OverlayFormat
    """

    def __init__(self, root: Path, count: int, colormap: str, encoding: OverlayFormat = OverlayFormat.JPEG) -> None:
        self._root, self._count, self._colormap, self._encoding = root, count, colormap, encoding

    @property
    def needs_heatmaps(self) -> bool:
        """Whether any overlay is drawn."""
        return self._count > 0

    def write(self, analysis: Analysis, record: ResultRecord) -> ResultRecord:
        """Draw and write the overlays of an image."""
        result = analysis.result
        added = result.improbable[: max(0, self._count - len(result.findings))]
        chosen = (*result.findings, *added)[: self._count]
        files = {each.label: self._name(analysis, each) for each in chosen}
        for label, name in files.items():
            drawn = draw_overlay(analysis.image.pixels, result, label, self._colormap, self._encoding)
            write_atomically(self._root / name, drawn)
        findings = (*record.findings, *(each.record() for each in added))
        return with_overlay_files(msgspec.structs.replace(record, findings=findings), result, files)

    def _name(self, analysis: Analysis, finding: Finding) -> str:
        return overlay_name(analysis.name, finding.label, positive=finding.positive, encoding=self._encoding)

    def is_complete(self, record: ResultRecord) -> bool:
        """Return whether the overlays that a record names exist."""
        return all((self._root / f.overlay_file).is_file() for f in record.findings if f.overlay_file)


class PositiveOverlays:
    """Overlays of the positive findings, passed to a function that stores them: for images that are not DICOM.

    Parameters
    ----------
    store : callable
        (name, JPEG) → None.
    count : int
        Largest number of overlays per image.
    colormap : str
    """

    def __init__(self, store: Callable[[str, bytes], None], count: int, colormap: str) -> None:
        self._store, self._count, self._colormap = store, count, colormap

    @property
    def needs_heatmaps(self) -> bool:
        """Whether any overlay is drawn."""
        return self._count > 0

    def write(self, analysis: Analysis, record: ResultRecord) -> ResultRecord:
        """Draw and store the overlays of an image that is not DICOM."""
        if analysis.image.header is not None:
            return record
        chosen = [finding.label for finding in record.positive][: self._count]
        files = {label: f"{analysis.name}-{label}{SUFFIXES[OverlayFormat.JPEG]}" for label in chosen}
        for label, name in files.items():
            self._store(name, draw_overlay(analysis.image.pixels, analysis.result, label, self._colormap))
        return with_overlay_files(record, analysis.result, files)

    def is_complete(self, record: ResultRecord) -> bool:  # noqa: ARG002 - the protocol's signature
        """Return True: only the function that stores the overlays knows whether they exist."""
        return True


def with_overlay_files(record: ResultRecord, result: Result, files: dict[str, str]) -> ResultRecord:
    """Return a record with the files of its overlays, given as label → file."""

    def located(finding: FindingRecord) -> FindingRecord:
        if finding.label not in files:
            return finding
        empty = not result.map_of(finding.label).any()
        return msgspec.structs.replace(
            finding, overlay_file=files[finding.label], overlay_empty=True if empty else UNSET
        )

    return msgspec.structs.replace(record, findings=tuple(map(located, record.findings)))


def overlay_prefix(path: str) -> str:
    """Return the part of an overlay's name that stands for the image.

    It contains a hash of the whole path, so that images of the same name in different folders differ, also where the
    file system ignores case.
    """
    stem = re.sub(r"[^A-Za-z0-9._-]", "_", Path(path).stem)[:60]
    return f"{stem}-{hashlib.sha256(os.fsencode(path)).hexdigest()[:16]}"


def prefixes_of(overlay: str) -> list[str]:
    """Return what may be the prefix of an overlay's name; more than one where a file or a label looks like a hash."""
    return [overlay[: hashed.end()] for hashed in re.finditer(r"-[0-9a-f]{16}(?=-)", overlay)]


def overlay_name(path: str, label: str, *, positive: bool, encoding: OverlayFormat = OverlayFormat.JPEG) -> str:
    """Return the name of an image's overlay for a label, relative to the results directory.

    It says where the finding is below its threshold, by a sign that no label contains.
    """
    mark = "" if positive else BELOW
    return f"{FOLDER}/{overlay_prefix(path)}-{label.replace(' ', '_')}{mark}{SUFFIXES[encoding]}"
