"""What an output is: one way in which a result leaves the program, behind one protocol.

A new output is a class with these three methods, and a line where the outputs of a run are chosen.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from cxr_edge.images import DecodedImage
from cxr_edge.model.provenance import Provenance
from cxr_edge.model.record import ResultRecord
from cxr_edge.model.results import Result


@dataclass(frozen=True)
class Analysis:
    """One image that was read and decided on: what outputs are written from.

    Attributes
    ----------
    name : str
        What the image is called: its path, or its name in the node's queue.
    image : DecodedImage
    result : Result
        With heat maps, if any output needs them.
    provenance : Provenance
    """

    name: str
    image: DecodedImage
    result: Result
    provenance: Provenance


class Output(Protocol):
    """One way in which a result leaves the program."""

    @property
    def needs_heatmaps(self) -> bool:
        """Whether it draws heat maps."""

    def write(self, analysis: Analysis, record: ResultRecord) -> ResultRecord:
        """Write what belongs to one image, whole or not at all.

        Returns
        -------
        ResultRecord
            The record with what was written, or could not be.

        Raises
        ------
        OutputUnwritable
        """

    def is_complete(self, record: ResultRecord) -> bool:
        """Return whether what an earlier run wrote for a record is still there."""


def write_outputs(analysis: Analysis, outputs: Iterable[Output]) -> ResultRecord:
    """Write all outputs of one image; return its record."""
    record = analysis.result.record()
    for output in outputs:
        record = output.write(analysis, record)
    return record


def need_heatmaps(outputs: Sequence[Output]) -> bool:
    """Return whether any of the outputs draws heat maps."""
    return any(output.needs_heatmaps for output in outputs)
