"""The HTML report of a run: one file that opens from disk, asks no network, and holds a thousand films."""

import hashlib
from base64 import b64encode
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Final

from cxr_edge.labels import NO_FINDING
from cxr_edge.overlays import write_atomically
from cxr_edge.report import film
from cxr_edge.report.film import Basis, render_film, templates
from cxr_edge.report.picture import FilmPicture
from cxr_edge.results import NOTICE

#: Reports of more films show smaller pictures: a thousand of them stay below 50 MB.
MOST_LARGE: Final = 50

Line = Mapping[str, Any]

_TEMPLATES: Final = Path(__file__).parent / "templates"
_STYLE: Final = (_TEMPLATES / "page.css").read_text(encoding="utf-8")
_SCRIPT: Final = (_TEMPLATES / "page.js").read_text(encoding="utf-8")


def write_report(
    target: Path,
    basis: Basis,
    lines: Callable[[], Iterable[Line]],
    picture_of: Callable[[Line], FilmPicture | None],
    colormap: str,
) -> None:
    """Write the report of a run, whole or not at all.

    Parameters
    ----------
    target : Path
    basis : Basis
        What all its findings rest on.
    lines : callable
        Gives the result lines in order, as often as it is called: no more than one film is held at a time.
    picture_of : callable
        Gives what was kept of a line's film; None if nothing was.
    colormap : str
        One of `cxr_edge.gradcam.COLORMAPS`, at first.

    Raises
    ------
    OutputUnwritable
    """
    write_atomically(target, map(str.encode, _pieces(basis, lines, picture_of, colormap)))


def _pieces(
    basis: Basis,
    lines: Callable[[], Iterable[Line]],
    picture_of: Callable[[Line], FilmPicture | None],
    colormap: str,
) -> Iterator[str]:
    counts = _count(lines())
    large = counts["films"] <= MOST_LARGE

    def films() -> Iterator[str]:
        for number, line in enumerate(lines(), 1):
            if line["status"] == "ok" and (picture := picture_of(line)) is not None:
                shown = picture if large else picture.smaller()
                yield render_film(line, shown, basis, name=line["path"], colormap=colormap, number=number)

    def rows() -> Iterator[dict[str, Any]]:
        for number, line in enumerate(lines(), 1):
            picture = picture_of(line) if line["status"] == "ok" else None
            yield {"number": number, "line": line, "thumbnail": picture and picture.thumbnail}

    style, scripts = film.STYLE + _STYLE, (film.script(), _SCRIPT)
    yield from (
        templates()
        .get_template("page.html")
        .generate(
            style=style,
            scripts=scripts,
            policy=_policy(style, scripts),
            notice=NOTICE,
            basis=basis,
            made=f"{datetime.now(timezone.utc):%Y-%m-%d %H:%M} UTC",
            counts=counts,
            diseases=[label for label in basis.thresholds if label != NO_FINDING],
            rows=rows,
            films=films,
        )
    )


def _count(lines: Iterable[Line]) -> dict[str, Any]:
    films, warned = 0, 0
    positive: Counter[str] = Counter()
    failures: Counter[str] = Counter()
    for line in lines:
        films += 1
        if line["status"] == "error":
            failures[line["error"]["code"]] += 1
            continue
        warned += bool(line["warnings"])
        positive.update(finding["label"] for finding in line["findings"] if finding["positive"])
    read = films - failures.total()
    return {"films": films, "read": read, "warned": warned, "positive": positive, "failures": failures}


def _policy(style: str, scripts: Iterable[str]) -> str:
    """Give a Content-Security-Policy that runs this page's own scripts and nothing that a value smuggled in."""
    runs = " ".join(map(_hash, scripts))
    own = f"img-src data:; style-src {_hash(style)}; script-src {runs}"
    return f"default-src 'none'; {own}; base-uri 'none'; form-action 'none'"


def _hash(text: str) -> str:
    return f"'sha256-{b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
