"""What the archive should have, and what it has: results lost and doubled."""

from dataclasses import asdict, dataclass
from functools import cache
from typing import Any

import cxr_edge
from benchmarks.dicom import dicom_files, patient
from benchmarks.node import images
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
    images : int
        Images that were answered with success.
    expected, received, lost, doubled : int
        Numbers of result objects.
    dead : int
        Dead letters, both images and results; their results count as lost, too.
    lines, values : int
        Lines of the node's log, queue and metrics; and those among them that contain patient data.
    """

    event: str
    trials: int
    images: int
    expected: int = 0
    received: int = 0
    lost: int = 0
    doubled: int = 0
    dead: int = 0
    lines: int = 0
    values: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Return the row as it is recorded."""
        return asdict(self)


@cache
def results_of(sample: int) -> int:
    """Return how many result objects an image of a sample gives."""
    model = cxr_edge.load(device="cpu")
    analyser = Analyser.of(model, model.settings(heatmaps=True), ())
    analysis = analyser.analyse(dicom_files.written(images.make(sample)), images.name(sample), path=None)
    return len(write_objects(analysis, overlays=3, colormap="turbo"))


def judged(site: Site, row: Row, numbers: list[int]) -> Row:
    """Compare the archive with the results that images of these numbers must give, each in a study of its own."""
    held = site.objects_by_study()
    for number in dict.fromkeys(numbers):
        expected = results_of(number % len(images.SAMPLES))
        found = held.pop(str(images.uid("study", number)), 0)
        row.expected += expected
        row.received += found
        row.lost += max(0, expected - found)
        row.doubled += max(0, found - expected)
    for found in held.values():  # results of images that were never sent
        row.received += found
        row.doubled += found
    health = site.health()
    if health is not None:
        row.dead = health["queue"]["image-dead"] + health["queue"]["delivery-dead"]
    outputs = site.outputs()
    row.lines, row.values = patient.lines_of(outputs), len(patient.search(outputs))
    return row
