"""The frame and scan headers of JPEG and JPEG-LS (ITU-T T.81, B.2.2 and B.2.3; T.87, C.2), and what they require."""

import struct
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from cxr_edge.errors import Truncated

#: Start-of-frame markers (T.81, table B.1; T.87, C.1.1) by coding.
SEQUENTIAL: Final = frozenset({0xC0, 0xC1})
PROGRESSIVE: Final = 0xC2
LOSSLESS: Final = 0xC3
JPEG_LS: Final = 0xF7
START_OF_FRAME: Final = (frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}) | {JPEG_LS}
#: Start-of-frame markers of codings that are never read. Arithmetic coding does not show whether its data were cut:
#: zeros that are missing at its end are correct (T.81, D.1.8).
UNREAD: Final = {
    **dict.fromkeys((0xC5, 0xC6, 0xC7, 0xCD, 0xCE, 0xCF), "hierarchical"),
    **dict.fromkeys((0xC9, 0xCA), "non-Huffman"),
    0xCB: "lossless",
}

_COEFFICIENTS: Final = 64


class Component(NamedTuple):
    """A component and its sampling factors."""

    identifier: int
    horizontal: int
    vertical: int


class Frame(NamedTuple):
    """A frame header; `marker` is the second byte of its marker, `samples` the number of components it states."""

    marker: int
    bits: int
    rows: int
    columns: int
    samples: int
    components: tuple[Component, ...]


class Scan(NamedTuple):
    """A scan header: identifiers of components, first and last coefficient, point transform."""

    components: tuple[int, ...]
    first: int
    last: int
    low: int


def read_frame(marker: int, content: bytes) -> Frame:
    """Read the content of a frame header.

    Raises
    ------
    Truncated
    """
    if len(content) < 6:
        raise damaged("its frame header is too short")
    bits, rows, columns, samples = struct.unpack_from(">BHHB", content)
    entries = struct.iter_unpack("BBB", content[6 : len(content) // 3 * 3])
    components = tuple(Component(identifier, factors >> 4, factors & 15) for identifier, factors, _ in entries)
    return Frame(marker, bits, rows, columns, samples, components[:samples])


def read_scan(content: bytes, frame: Frame) -> Scan:
    """Read the content of a scan header, whose components must be in the frame.

    Raises
    ------
    Truncated
    """
    if len(frame.components) < frame.samples:
        raise damaged("its frame header is too short")
    count = content[0] if content else 0
    if not count or len(content) < 4 + 2 * count:
        raise damaged("a scan header is too short")
    components = tuple(content[1 : 1 + 2 * count : 2])
    if not set(components) <= {component.identifier for component in frame.components}:
        raise damaged("a scan has a component that the frame lacks")
    first, last, approximation = content[1 + 2 * count : 4 + 2 * count]
    return Scan(components, first, last, approximation & 15)


def check_complete(frame: Frame, scans: Iterable[Scan]) -> None:
    """Check that the scans contain every component, and a progressive image's every coefficient to its last bit.

    A stream that was cut between two scans and closed by an end marker lacks some (T.81, G.1.1).

    Raises
    ------
    Truncated
    """
    missing = {component.identifier: [1] * _COEFFICIENTS for component in frame.components}
    for scan in scans:
        whole = frame.marker != PROGRESSIVE
        for component in scan.components:
            for coefficient in range(_COEFFICIENTS) if whole else range(scan.first, min(scan.last + 1, _COEFFICIENTS)):
                missing[component][coefficient] = 0 if whole else scan.low
    if any(any(bits) for bits in missing.values()):
        raise damaged("it ends before its last scan")


def intervals(frame: Frame, scan: Scan, units: int) -> int:
    """Return the number of restart intervals of a scan, each of a number of units (T.81, A.2 and B.2.4.4).

    Parameters
    ----------
    frame : Frame
    scan : Scan
    units : int
        Minimum coded units per interval; 0 for a scan without restarts.

    Raises
    ------
    Truncated
        The frame has sampling factors of 0, or the intervals of a lossless image are no whole lines.
    """
    if not units:
        return 1
    if not all(component.horizontal and component.vertical for component in frame.components):
        raise damaged("its frame header has sampling factors of 0")
    columns, rows = _units(frame, scan)
    if frame.marker == LOSSLESS and units % columns:  # T.81, H.1.1
        raise damaged("its restart intervals are no whole lines")
    return _ceil(columns * rows, units)


def _units(frame: Frame, scan: Scan) -> tuple[int, int]:
    """Return the minimum coded units of a scan in a row and in a column."""
    side = 1 if frame.marker == LOSSLESS else 8
    across = max(component.horizontal for component in frame.components)
    down = max(component.vertical for component in frame.components)
    if len(scan.components) > 1:
        return _ceil(frame.columns, side * across), _ceil(frame.rows, side * down)
    chosen = next(component for component in frame.components if component.identifier == scan.components[0])
    columns, rows = _ceil(frame.columns * chosen.horizontal, across), _ceil(frame.rows * chosen.vertical, down)
    return _ceil(columns, side), _ceil(rows, side)


def are_harmless(restarts: Sequence[int]) -> bool:
    """Return whether restart markers count from 0 to 7 and again (T.81, B.1.1.5), from another start, or not at all.

    With as many markers as the header requires, none of these means that an interval is lost.
    """
    return len(set(restarts)) <= 1 or len({(number - at) % 8 for at, number in enumerate(restarts)}) == 1


def damaged(what: str) -> Truncated:
    """Return the error that says what is damaged."""
    return Truncated(f"the JPEG is damaged or cut off ({what}); copy it again")


def _ceil(count: int, size: int) -> int:
    return -(-count // size)
