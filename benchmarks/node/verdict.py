"""What the archive should hold, and what it holds: results lost and doubled."""

from dataclasses import asdict, dataclass
from functools import cache
from typing import Any

import cxr_edge
from benchmarks.dicom import films as dicom_films
from benchmarks.dicom import patient
from benchmarks.node import films
from benchmarks.node.site import Site
from cxr_edge.outputs.analysis import Analyser
from cxr_edge.outputs.dicom import write_objects


@dataclass
class Row:
    """One row of the crash table.

    Attributes
    ----------
    event : str
        What was done to the node.
    trials : int
    films : int
        Answered with success.
    expected, received, lost, doubled : int
        Result objects.
    dead : int
        Dead letters, films and results, whose results are among those that are lost.
    lines, values : int
        Of the node's log, queue and metrics; and those of them in which a value of a patient stands.
    """

    event: str
    trials: int
    films: int
    expected: int = 0
    received: int = 0
    lost: int = 0
    doubled: int = 0
    dead: int = 0
    lines: int = 0
    values: int = 0

    def to_dict(self) -> dict[str, Any]:
        """As it is recorded."""
        return asdict(self)


@cache
def results_of(sample: int) -> int:
    """How many objects a film of a sample gives."""
    model = cxr_edge.load(device="cpu")
    analyser = Analyser.of(model, model.settings(heatmaps=True), ())
    analysis = analyser.analyse(dicom_films.written(films.make(sample)), films.name(sample), path=None)
    return len(write_objects(analysis, overlays=3, colormap="turbo"))


def judged(site: Site, row: Row, numbers: list[int]) -> Row:
    """Compare the archive with what films of these numbers must have given, each in a study of its own."""
    held = site.objects_by_study()
    for number in dict.fromkeys(numbers):
        expected = results_of(number % len(films.SAMPLES))
        found = held.pop(str(films.uid("study", number)), 0)
        row.expected += expected
        row.received += found
        row.lost += max(0, expected - found)
        row.doubled += max(0, found - expected)
    for found in held.values():  # of films that nobody sent
        row.received += found
        row.doubled += found
    health = site.health()
    if health is not None:
        row.dead = health["queue"]["film-dead"] + health["queue"]["delivery-dead"]
    told = site.told()
    row.lines, row.values = patient.lines_of(told), len(patient.search(told))
    return row
