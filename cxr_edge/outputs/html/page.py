"""The HTML report of a run: one file that opens from disk without a network, for up to a thousand images."""

import hashlib
from base64 import b64encode
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Final

from cxr_edge.model.provenance import Provenance
from cxr_edge.model.record import FailureRecord, Record, ResultRecord
from cxr_edge.model.results import NOTICE
from cxr_edge.outputs.html import image
from cxr_edge.outputs.html.image import render_image, templates
from cxr_edge.outputs.html.picture import ReportImage
from cxr_edge.support.files import write_atomically

#: Reports of more images show smaller pictures, so that one of a thousand images stays below 50 MB.
MOST_LARGE: Final = 50

Pictures = Callable[[ResultRecord], ReportImage | None]

_TEMPLATES: Final = Path(__file__).parent / "templates"
_STYLE: Final = (_TEMPLATES / "page.css").read_text(encoding="utf-8")
_SCRIPT: Final = (_TEMPLATES / "page.js").read_text(encoding="utf-8")


@dataclass(frozen=True)
class ReportedRun:
    """What a report shows.

    Attributes
    ----------
    records : callable
        Returns the records in order; it is called several times, and one image is held in memory at a time.
    picture_of : callable
        Returns what was kept of a record's image, or None.
    skipped : int
        Number of files that were left out, since they are no images.
    """

    records: Callable[[], Iterable[Record]]
    picture_of: Pictures
    skipped: int = 0


def write_report(target: Path, provenance: Provenance, run: ReportedRun, colormap: str) -> None:
    """Write the report of a run, whole or not at all.

    Parameters
    ----------
    target : Path
    provenance : Provenance
        Model, settings and software of all its findings.
    run : ReportedRun
    colormap : str
        The initial one of `cxr_edge.model.heatmaps.COLORMAPS`.

    Raises
    ------
    OutputUnwritable
    """
    write_atomically(target, map(str.encode, _pieces(provenance, run, colormap)))


def _pieces(provenance: Provenance, run: ReportedRun, colormap: str) -> Iterator[str]:
    records, picture_of = run.records, run.picture_of
    counts = {**_count(records()), "skipped": run.skipped}
    large = counts["images"] <= MOST_LARGE

    def images() -> Iterator[str]:
        for number, record in enumerate(records(), 1):
            if isinstance(record, ResultRecord) and (picture := picture_of(record)) is not None:
                shown, name = picture if large else picture.smaller(), record.path or ""
                yield render_image(record, shown, provenance, name=name, colormap=colormap, number=number)

    def rows() -> Iterator[dict[str, Any]]:
        for number, record in enumerate(records(), 1):
            failed = isinstance(record, FailureRecord)
            picture = None if isinstance(record, FailureRecord) else picture_of(record)
            yield {"number": number, "record": record, "failed": failed, "thumbnail": picture and picture.thumbnail}

    style, scripts = image.STYLE + _STYLE, (image.script(), _SCRIPT)
    yield from (
        templates()
        .get_template("page.html")
        .generate(
            style=style,
            scripts=scripts,
            policy=_policy(style, scripts),
            notice=NOTICE,
            provenance=provenance,
            made=f"{datetime.now(timezone.utc):%Y-%m-%d %H:%M} UTC",
            counts=counts,
            findings=[label.name for label in provenance.labels if label.is_finding],
            rows=rows,
            images=images,
        )
    )


def _count(records: Iterable[Record]) -> dict[str, Any]:
    images, warned = 0, 0
    positive: Counter[str] = Counter()
    failures: Counter[str] = Counter()
    for record in records:
        images += 1
        if isinstance(record, FailureRecord):
            failures[record.error.code] += 1
            continue
        warned += bool(record.warnings)
        positive.update(finding.label for finding in record.positive)
    read = images - failures.total()
    return {"images": images, "read": read, "warned": warned, "positive": positive, "failures": failures}


def _policy(style: str, scripts: Iterable[str]) -> str:
    """Return a Content-Security-Policy that allows only the scripts and styles of this page."""
    runs = " ".join(map(_hash, scripts))
    own = f"img-src data:; style-src {_hash(style)}; script-src {runs}"
    return f"default-src 'none'; {own}; base-uri 'none'; form-action 'none'"


def _hash(text: str) -> str:
    return f"'sha256-{b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
