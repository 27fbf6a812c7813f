"""Heat-map overlays: drawn over the image, captioned, and written as files whose names do not collide."""

import hashlib
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Final

import cv2
import msgspec
import numpy as np
import numpy.typing as npt
from msgspec import UNSET

from cxr_edge.images.contents import FIRST_CHUNK_END, RESULT_CHUNK
from cxr_edge.model.heatmaps import MAX_OPACITY, WEAK_OPACITY, overlay
from cxr_edge.model.record import FindingRecord, ResultRecord
from cxr_edge.model.results import Result
from cxr_edge.outputs.base import Analysis
from cxr_edge.support.files import write_atomically

FOLDER: Final = "heatmaps"
#: At the end of the name of an overlay of a finding below its threshold.
BELOW: Final = "~below_threshold"

#: One filter for all rows: trying all filters on each row doubles the time, and saves no bytes here.
_QUICK_PNG: Final = (cv2.IMWRITE_PNG_COMPRESSION, 1, cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_UP)
_FONT: Final = cv2.FONT_HERSHEY_SIMPLEX
#: Smallest scale at which text is readable: capitals of ten pixels.
_LEAST_SCALE: Final = 0.5


class OverlayFiles:
    """Overlays of the most probable findings, positive or not, as PNG files in ``heatmaps/`` of a results directory.

    Every one is of a finding in the record, which names its file: those below ``min_probability`` are added to it.

    Parameters
    ----------
    root : Path
        The results directory.
    count : int
        Overlays per image.
    colormap : str
        One of `cxr_edge.model.heatmaps.COLORMAPS`.
    """

    def __init__(self, root: Path, count: int, colormap: str) -> None:
        self._root, self._count, self._colormap = root, count, colormap

    @property
    def needs_heatmaps(self) -> bool:
        """Whether any overlay is drawn."""
        return self._count > 0

    def write(self, analysis: Analysis, record: ResultRecord) -> ResultRecord:
        """Draw and write the overlays of an image."""
        result = analysis.result
        added = result.improbable[: max(0, self._count - len(result.findings))]
        chosen = (*result.findings, *added)[: self._count]
        files = {each.label: overlay_name(analysis.name, each.label, positive=each.positive) for each in chosen}
        for label, name in files.items():
            write_atomically(self._root / name, draw_overlay(analysis.image.pixels, result, label, self._colormap))
        findings = (*record.findings, *(each.record() for each in added))
        return with_overlay_files(msgspec.structs.replace(record, findings=findings), result, files)

    def is_complete(self, record: ResultRecord) -> bool:
        """Return whether the overlays that a record names exist."""
        return all((self._root / f.overlay_file).is_file() for f in record.findings if f.overlay_file)


class PositiveOverlays:
    """Overlays of the positive findings, passed to a function that stores them: for images that are not DICOM.

    Parameters
    ----------
    store : callable
        (name, PNG) → None.
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
        files = {label: f"{analysis.name}-{label}.png" for label in chosen}
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


def overlay_name(path: str, label: str, *, positive: bool) -> str:
    """Return the name of an image's overlay for a label, relative to the results directory.

    It says where the finding is below its threshold, by a sign that no label contains.
    """
    mark = "" if positive else BELOW
    return f"{FOLDER}/{overlay_prefix(path)}-{label.replace(' ', '_')}{mark}.png"


def draw_overlay(image: npt.NDArray[np.uint8], result: Result, label: str, colormap: str) -> bytes:
    """Draw one label's overlay at the image's size, with its caption; return it as PNG.

    The colour is weaker where the label is not positive, and the caption says why. The file states that it is a result
    of this software, so that it is not read as an image again.
    """
    known = (*result.findings, *result.improbable)
    finding = next((finding for finding in known if finding.label == label), None)
    positive = finding is not None and finding.positive
    drawn = overlay(image, result.heatmap(label), colormap, MAX_OPACITY if positive else WEAK_OPACITY)
    verdict = f"{label} {result.probabilities[label]:.2f}"
    if finding is not None:
        verdict += " positive" if positive else f", below threshold {finding.threshold:.2f}"
    caption(drawn, f"{verdict}  |  research only, not for diagnosis")
    _, encoded = cv2.imencode(".png", drawn, _QUICK_PNG)
    png = np.asarray(encoded, np.uint8).ravel().data
    return b"".join((png[:FIRST_CHUNK_END], RESULT_CHUNK, png[FIRST_CHUNK_END:]))


def caption(picture: npt.NDArray[np.uint8], text: str) -> None:
    """Write white text on black into the lower left corner of a picture, in place; see `band`."""
    scale, lines = _fitted(text, picture.shape[1])
    right = min(picture.shape[1], max(_width(line, scale) for line in lines) + 2 * _margin(scale))
    block = _written(lines, scale, right)[-picture.shape[0] :]
    picture[-block.shape[0] :, :right] = block


def band(text: str, width: int) -> npt.NDArray[np.uint8]:
    """Write white text on a black band, which can be put above or below a picture.

    Text wider than the band continues on further lines. If a single word is wider, all text is written smaller.

    Parameters
    ----------
    text : str
    width : int
        Of the picture, in pixels.

    Returns
    -------
    ndarray, (h, width, 3) uint8
    """
    scale, lines = _fitted(text, width)
    return _written(lines, scale, width)


def _fitted(text: str, width: int) -> tuple[float, list[str]]:
    """Return the scale of text in a picture of a width, and its lines."""
    scale = max(_LEAST_SCALE, width / 1024 * 0.6)
    widest = max(_width(word, scale) + 2 * _margin(scale) for word in text.split())
    scale *= min(1.0, width / widest)
    return scale, _wrapped(text, scale, width - 2 * _margin(scale))


def _written(lines: list[str], scale: float, width: int) -> npt.NDArray[np.uint8]:
    (_, height), descent = cv2.getTextSize(" ".join(lines), _FONT, scale, 1)
    step = height + descent + _margin(scale)
    drawn = np.zeros((len(lines) * step + _margin(scale), width, 3), np.uint8)
    for number, line in enumerate(lines, 1):
        origin = (_margin(scale), number * step - descent)
        cv2.putText(drawn, line, origin, _FONT, scale, (255, 255, 255), 1, cv2.LINE_AA)
    return drawn


def _wrapped(text: str, scale: float, width: int) -> list[str]:
    """Break text between words into lines of at most `width` pixels."""
    lines: list[str] = []
    for word in text.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and _width(longer, scale) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


def _width(text: str, scale: float) -> int:
    return int(cv2.getTextSize(text, _FONT, scale, 1)[0][0])


def _margin(scale: float) -> int:
    return round(10 * scale)
