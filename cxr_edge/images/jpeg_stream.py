"""Walk the markers of a JPEG or JPEG-LS stream before a decoder reads it (ITU-T T.81, B; T.87, C).

A decoder fills in what is missing, with a warning at best. So the structure is checked here: the end
marker, every component, scan and restart interval. What is odd but changes no pixel is corrected in a
copy, so that each warning of the decoder is about the image data, and none hides another.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import cycle, islice
from typing import Final, NamedTuple

from cxr_edge.errors import TooLarge
from cxr_edge.images import exif
from cxr_edge.images.jpeg_frame import (
    JPEG_LS,
    LOSSLESS,
    PROGRESSIVE,
    SEQUENTIAL,
    START_OF_FRAME,
    Frame,
    Scan,
    are_harmless,
    check_complete,
    damaged,
    intervals,
    read_frame,
    read_scan,
)
from cxr_edge.images.limits import DEFAULT_LIMITS
from cxr_edge.images.surplus import surplus_of

_TEM, _RESTARTS, _START, _END = 0x01, range(0xD0, 0xD8), 0xD8, 0xD9
_START_OF_SCAN, _LINES, _RESTART_INTERVAL, _APP0, _APP1, _APP14 = 0xDA, 0xDC, 0xDD, 0xE0, 0xE1, 0xEE
#: Markers of segments, each with its length (T.81, table B.1; T.87, C.1.1).
_SEGMENTS: Final = frozenset({*range(0xC0, 0xD0), *range(0xDA, 0xF0), JPEG_LS, 0xF8, 0xFE})
_NO_FILL: Final = re.compile(rb"[^\xff]")
#: A marker, after fill bytes (T.81, B.1.1.2) or bytes that belong to nothing.
_MARKER: Final = re.compile(rb"\xff[^\x00\xff]")
#: The same after image data, where a 0 byte (T.81, F.1.2.3) or a 0 bit (T.87, A.1) follows 0xFF.
_END_OF_DATA: Final = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
_END_OF_JPEG_LS_DATA: Final = re.compile(rb"\xff[\x80-\xcf\xd8-\xfe]")
RESTART: Final = re.compile(rb"\xff[\xd0-\xd7]")
#: More than any image has: profiles and previews are divided into segments of 64 KiB.
_MAX_MARKERS: Final = 20_000
#: Number of components → Adobe's codes for their colours that libjpeg knows, the one it takes for another last.
_ADOBE_COLOURS: Final = {3: (0, 1), 4: (0, 2)}


@dataclass(frozen=True)
class Stream:
    """A stream whose structure is whole.

    Attributes
    ----------
    data : bytes
        From the start marker to the end marker, corrected.
    frame : Frame
    surplus : int
        Bytes that were left out before the end marker; 0 if they were padding.
    trailing : int
        Bytes after the end marker; 0 if they are padding.
    image_data : tuple of (int, int)
        Start and end of the image data of each scan, in the stream as it was given.
    """

    data: bytes
    frame: Frame
    surplus: int
    trailing: int
    image_data: tuple[tuple[int, int], ...]


class Header(NamedTuple):
    """The frame header, and the EXIF data if they come before the first scan."""

    frame: Frame
    exif: bytes | None


def read_header(data: bytes) -> Header:
    """Read the markers up to the first scan; the next ones too if they state the number of lines (T.81, B.2.5).

    Raises
    ------
    Truncated, TooLarge
    """
    walk = _Walk(data, DEFAULT_LIMITS.max_scans)
    while walk.frame is None or walk.next_marker() != _START_OF_SCAN:
        walk.step()
    while walk.frame.rows == 0 and not walk.ended:
        walk.step()
    return Header(walk.frame, walk.exif)


def read_stream(data: bytes, max_scans: int = DEFAULT_LIMITS.max_scans) -> Stream:
    """Walk a stream from its start marker, which are its first bytes, to its end marker.

    Parameters
    ----------
    data : bytes
    max_scans : int
        Most scans: a decoder visits the whole image for each.

    Raises
    ------
    Truncated
        Something is missing or damaged.
    TooLarge
        There are too many scans or segments.
    """
    walk = _Walk(data, max_scans)
    while not walk.ended:
        walk.step()
    return walk.result()


class _Walk:
    """Reads one segment after the other, and notes edits: start and end of bytes, and what replaces them."""

    def __init__(self, data: bytes, max_scans: int) -> None:
        self.frame: Frame | None = None
        self.exif: bytes | None = None
        self.ended = False
        self._data, self._at, self._max_scans = data, 2, max_scans
        self._marker_at, self._frame_at, self._adobe_at = 0, 0, 0
        self._interval, self._markers, self._surplus = 0, 0, 0
        self._scans: list[Scan] = []
        self._image_data: list[tuple[int, int]] = []
        self._edits: list[tuple[int, int, bytes]] = []
        self._readers: dict[int, Callable[[int, int], None]] = {
            **dict.fromkeys(START_OF_FRAME, self._read_frame),
            _START_OF_SCAN: self._read_scan,
            _LINES: self._read_lines,
            _RESTART_INTERVAL: self._read_interval,
            _APP0: self._read_jfif,
            _APP1: self._read_exif,
            _APP14: self._read_adobe,
        }

    def next_marker(self) -> int:
        """Return the second byte of the next marker."""
        return self._data[self._find_marker() + 1]

    def step(self) -> None:
        """Read the next marker and its segment, and the image data after it."""
        at = self._find_marker()
        self._markers += 1
        if self._markers > _MAX_MARKERS:
            raise TooLarge(f"expected at most {_MAX_MARKERS} segments in a JPEG, got more; save it again")
        if surplus_of(self._data, self._at, at):  # the length of a segment, or the segment after it, is damaged
            raise damaged(f"expected a marker at byte {self._at}")
        if self._at < at:
            self._edits.append((self._at, at, b""))
        marker = self._data[at + 1]
        self._at = at + 2
        if marker == _END:
            self._end()
        elif marker != _TEM and marker not in _RESTARTS:
            self._read_segment(at, marker)

    def result(self) -> Stream:
        """Return the corrected stream."""
        assert self.frame is not None  # noqa: S101 - for the type checker: `_end` has checked it
        data, end = self._data, self._at
        edits = [*self._edits, *self._adobe_edit(self.frame)]
        corrected = _edited(data[:end] if end < len(data) else data, edits)
        trailing = surplus_of(data, end, len(data))
        return Stream(corrected, self.frame, self._surplus, trailing, tuple(self._image_data))

    def _find_marker(self) -> int:
        if self._marker_at < self._at:
            content = _NO_FILL.search(self._data, self._at)
            found = content and _MARKER.search(self._data, max(self._at, content.start() - 1))
            if found is None:
                raise damaged("it has no end marker")
            self._marker_at = found.start()
        return self._marker_at

    def _leave_out(self, start: int, end: int) -> None:
        self._edits.append((start, end, b""))
        self._surplus += surplus_of(self._data, start, end)

    def _end(self) -> None:
        if self.frame is None or not self._scans:
            raise damaged("it has no image data")
        check_complete(self.frame, self._scans)
        self.ended = True

    def _read_segment(self, at: int, marker: int) -> None:
        if marker not in _SEGMENTS:
            raise damaged("it has a second start marker" if marker == _START else f"byte {at + 1} is not a marker")
        self._at = at + 2 + int.from_bytes(self._data[at + 2 : at + 4], "big")
        if not at + 4 <= self._at <= len(self._data):
            raise damaged("it ends within its header")
        if marker in self._readers:
            self._readers[marker](at + 4, self._at)

    def _read_frame(self, start: int, end: int) -> None:
        if self.frame is not None:
            raise damaged("it has two frame headers")
        self.frame, self._frame_at = read_frame(self._data[start - 3], self._data[start:end]), start

    def _read_interval(self, start: int, end: int) -> None:
        self._interval = int.from_bytes(self._data[start:end], "big")

    def _read_lines(self, start: int, _: int) -> None:
        if self.frame is not None and self.frame.rows == 0:  # libjpeg knows only the frame's own
            lines = self._data[start : start + 2]
            self.frame = self.frame._replace(rows=int.from_bytes(lines, "big"))
            self._edits.append((self._frame_at + 1, self._frame_at + 1 + len(lines), lines))

    def _read_jfif(self, start: int, end: int) -> None:
        if self._data.startswith(b"JFIF\0", start, end) and end > start + 5:
            self._edits.append((start + 5, start + 6, b"\1"))  # no pixel depends on the version

    def _read_exif(self, start: int, end: int) -> None:
        if self.exif is None and self._data.startswith(exif.PREFIX, start, end):
            self.exif = self._data[start:end]

    def _read_adobe(self, start: int, end: int) -> None:
        if self._data.startswith(b"Adobe", start, end) and end >= start + 12:
            self._adobe_at = start + 11

    def _adobe_edit(self, frame: Frame) -> list[tuple[int, int, bytes]]:
        """Return the edit by which libjpeg takes the same colours as without it, but without a warning."""
        known = _ADOBE_COLOURS.get(len(frame.components), ())
        if not self._adobe_at or not known or self._data[self._adobe_at] in known:
            return []
        return [(self._adobe_at, self._adobe_at + 1, bytes(known[-1:]))]

    def _read_scan(self, start: int, end: int) -> None:
        if self.frame is None:
            raise damaged("no frame header comes before the image data")
        if len(self._scans) >= self._max_scans:
            raise TooLarge(
                f"expected at most {self._max_scans} scans in a JPEG, got more; save it again as baseline, "
                "or raise max_scans if the image is right"
            )
        scan = read_scan(self._data[start:end], self.frame)
        self._scans.append(scan)
        if self.frame.marker in SEQUENTIAL:  # its scans contain all coefficients, whatever their header states
            self._edits.append((end - 3, end, b"\0\x3f\0"))
        pattern = _END_OF_JPEG_LS_DATA if self.frame.marker == JPEG_LS else _END_OF_DATA
        found = pattern.search(self._data, end)
        if found is None:
            raise damaged("it has no end marker")
        self._at = found.start()
        self._image_data.append((end, self._at))
        if self.frame.marker in SEQUENTIAL | {PROGRESSIVE, LOSSLESS}:
            self._read_restarts(self.frame, scan, end)

    def _read_restarts(self, frame: Frame, scan: Scan, start: int) -> None:
        """Check the restart markers of image data; leave out the intervals after the last one needed."""
        needed = intervals(frame, scan, self._interval)
        found = RESTART.finditer(self._data, start, self._at)
        numbers = bytes(self._data[restart.end() - 1] for restart in islice(found, needed - 1))
        if len(numbers) < needed - 1:
            raise damaged(f"a scan has {len(numbers) + 1} of its {needed} restart intervals")
        if surplus := next(found, None):
            self._leave_out(surplus.start(), self._at)
        expected = bytes(islice(cycle(_RESTARTS), needed - 1))
        if numbers != expected:
            if not are_harmless(numbers):
                raise damaged("its restart intervals are out of order")
            kept = zip(RESTART.finditer(self._data, start, self._at), expected, strict=False)
            self._edits += [(restart.end() - 1, restart.end(), bytes([number])) for restart, number in kept]


def _edited(data: bytes, edits: Iterable[tuple[int, int, bytes]]) -> bytes:
    """Return the data with the edits that change something; edits do not overlap."""
    view, at, parts = memoryview(data), 0, list[bytes | memoryview]()
    for start, end, replacement in sorted(edits):
        if data[start:end] != replacement:
            parts += [view[at:start], replacement]
            at = end
    return b"".join([*parts, view[at:]]) if parts else data
