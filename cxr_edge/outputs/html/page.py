"""The HTML report of a run, which opens from disk without a network.

Up to a thousand images are one file. More are spread over pages beside an overview of all: each page is a report of its
images, and no page is larger than a browser takes.
"""

import hashlib
from base64 import b64encode
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Final

from cxr_edge.errors import OutputUnwritable
from cxr_edge.model.provenance import Provenance
from cxr_edge.model.record import FailureRecord, Record, ResultRecord
from cxr_edge.model.results import NOTICE
from cxr_edge.outputs.html import image
from cxr_edge.outputs.html.image import render_image, templates
from cxr_edge.outputs.html.picture import ReportImage
from cxr_edge.support.files import make_folder, write_atomically

#: Images that one file shows …
MOST_ON_ONE: Final = 1000
#: … and images of each page where there are more.
PER_PAGE: Final = 250
#: Folder of the pages, beside the overview.
PAGES: Final = "report"

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
    folder, counts = target.parent / PAGES, _count(run.records())
    one = counts["images"] <= MOST_ON_ONE
    view = _View() if one else _write_pages(folder, provenance, run, colormap, counts["images"])
    _remove_pages(folder, from_page=view.pages + 1)
    write_atomically(target, _pieces(provenance, run, colormap, view, counts))


def _write_pages(folder: Path, provenance: Provenance, run: ReportedRun, colormap: str, total: int) -> "_View":
    """Write the pages of a report, with the pictures of one page in memory at a time; return the overview of them."""
    make_folder(folder, "--out")
    pages = -(-total // PER_PAGE)
    without: set[int] = set()
    for page, records in enumerate(_chunks(run.records()), 1):
        view = _View((page - 1) * PER_PAGE + 1, total, page, pages)
        kept = [run.picture_of(record) if isinstance(record, ResultRecord) else None for record in records]
        without.update(number for number, picture in enumerate(kept, view.first) if picture is None)
        pictures = {record.path: picture for record, picture in zip(records, kept, strict=True)}
        of_page = ReportedRun(partial(iter, records), partial(_of_path, pictures))
        write_atomically(folder / _file_of(page), _pieces(provenance, of_page, colormap, view, _count(records)))
    return _View(total=total, pages=pages, without=without)


@dataclass(frozen=True)
class _View:
    """What one file of a report shows.

    Attributes
    ----------
    first : int
        Number of its first image.
    total : int
        Images of the whole report, where it is spread over files.
    page, pages : int
        Which page it is of how many; page 0 is the overview of all, and 0 pages are a report of one file.
    without : set of int
        For the overview: numbers of the images of which no picture was kept.
    """

    first: int = 1
    total: int = 0
    page: int = 0
    pages: int = 0
    without: AbstractSet[int] = frozenset()

    @property
    def is_overview(self) -> bool:
        """Whether the images are in other files."""
        return self.pages > 0 and self.page == 0


def _chunks(records: Iterable[Record]) -> Iterator[list[Record]]:
    rest = iter(records)
    while chunk := list(islice(rest, PER_PAGE)):
        yield chunk


def _of_path(pictures: Mapping[str | None, ReportImage | None], record: ResultRecord) -> ReportImage | None:
    return pictures[record.path]


def _file_of(page: int) -> str:
    return f"{page:05d}.html"


def _remove_pages(folder: Path, *, from_page: int) -> None:
    """Remove the pages of an earlier report of more images."""
    page = from_page
    while (old := folder / _file_of(page)).exists():
        try:
            old.unlink()
        except OSError as error:
            raise OutputUnwritable.at(old, error, "--out") from error
        page += 1


def _pieces(
    provenance: Provenance, run: ReportedRun, colormap: str, view: _View, counts: dict[str, Any]
) -> Iterator[bytes]:
    records, picture_of = run.records, run.picture_of

    def images() -> Iterator[str]:
        for number, record in enumerate(records() if not view.is_overview else (), view.first):
            if isinstance(record, ResultRecord) and (picture := picture_of(record)) is not None:
                name = record.path or ""
                yield render_image(record, picture, provenance, name=name, colormap=colormap, number=number)

    def rows() -> Iterator[dict[str, Any]]:
        for number, record in enumerate(records(), view.first):
            failed = isinstance(record, FailureRecord)
            row: dict[str, Any] = {
                "number": number,
                "record": record,
                "failed": failed,
                "kept": False,
                "thumbnail": None,
                "file": "",
            }
            if view.is_overview:
                row |= {"kept": number not in view.without, "file": f"{PAGES}/{_file_of((number - 1) // PER_PAGE + 1)}"}
            elif not isinstance(record, FailureRecord) and (picture := picture_of(record)) is not None:
                row |= {"kept": True, "thumbnail": picture.thumbnail}
            yield row

    style, scripts = image.STYLE + _STYLE, (image.script(), _SCRIPT)
    pieces = (
        templates()
        .get_template("page.html")
        .generate(
            style=style,
            scripts=scripts,
            policy=_policy(style, scripts),
            notice=NOTICE,
            provenance=provenance,
            made=f"{datetime.now(timezone.utc):%Y-%m-%d %H:%M} UTC",
            counts={**counts, "skipped": run.skipped},
            findings=[label.name for label in provenance.labels if label.is_finding],
            rows=rows,
            images=images,
            view=view,
            file_of=_file_of,
            folder=PAGES,
            per_page=PER_PAGE,
        )
    )
    return map(str.encode, pieces)


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
