"""What a back end offers: one graph, opened once, run from any thread; it knows no task."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy.typing as npt

Array = npt.NDArray[Any]

#: A dimension of a tensor: its length, or None where any length will do.
Shape = tuple[int | None, ...]


class Tensor(NamedTuple):
    """An input or output of a graph.

    Attributes
    ----------
    dtype : str
        numpy's name for it.
    shape : tuple
    """

    dtype: str
    shape: Shape


class Graph(Protocol):
    """A graph on a device."""

    @property
    def device(self) -> str:
        """The device it truly runs on."""

    @property
    def inputs(self) -> Mapping[str, Tensor]:
        """Every input by name."""

    @property
    def outputs(self) -> Mapping[str, Tensor]:
        """Every output by name."""

    def run(self, outputs: Sequence[str], feeds: Mapping[str, Array]) -> list[Array]:
        """Compute the named outputs, in the order asked; safe to call from several threads."""
