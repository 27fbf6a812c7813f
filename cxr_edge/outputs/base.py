"""The protocol of outputs: an output is one way in which a result leaves the program.

A new output is a class with these methods, and a line where the outputs of a run are chosen.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from cxr_edge.images import DecodedImage
from cxr_edge.model.provenance import Provenance
from cxr_edge.model.record import ResultRecord
from cxr_edge.model.results import Result


@dataclass(frozen=True)
class Analysis:
    """One analysed image: everything that outputs are written from.

    Attributes
    ----------
    name : str
        The image's path, or its name in the node's queue.
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
        """Whether the output draws heat maps."""

    def write(self, analysis: Analysis, record: ResultRecord) -> ResultRecord:
        """Write the output of one image, whole or not at all.

        Returns
        -------
        ResultRecord
            The record, extended by what was written or could not be written.

        Raises
        ------
        OutputUnwritable
        """

    def is_complete(self, record: ResultRecord) -> bool:
        """Return whether everything that an earlier run wrote for a record still exists."""


def write_outputs(analysis: Analysis, outputs: Iterable[Output]) -> ResultRecord:
    """Write all outputs of one image; return its record."""
    record = analysis.result.record()
    for output in outputs:
        record = output.write(analysis, record)
    return record
