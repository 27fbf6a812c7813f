"""The interface of a back end: one graph, opened once, run from any thread. Independent of any task."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

#: An array, or an output that a graph kept on its device: opaque, and an input for graphs on the same device.
Value = Any

#: A dimension of a tensor: its length, or None where any length will do.
Shape = tuple[int | None, ...]

MEBIBYTE = 2**20


@dataclass(frozen=True)
class Resources:
    """What a graph may use of the machine.

    Attributes
    ----------
    threads : int
        CPU threads that share one inference.
    spinning : bool
        Let idle CPU threads wait busily for a moment: the next inference is faster, at the cost of other
        work on the same cores.
    gpu_memory : int
        Bytes on the GPU for one graph: weights, work space and buffers. What CUDA itself takes, and
        outputs that a caller keeps, come on top.
    batch : int
        Most inputs at a time.
    """

    threads: int = 1
    spinning: bool = True
    gpu_memory: int = 2048 * MEBIBYTE
    batch: int = 1


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
        """The device that the graph actually runs on."""

    @property
    def inputs(self) -> Mapping[str, Tensor]:
        """Every input by name."""

    @property
    def outputs(self) -> Mapping[str, Tensor]:
        """Every output by name."""

    def run(self, outputs: Sequence[str], feeds: Mapping[str, Value], keep: Collection[str] = ()) -> list[Value]:
        """Compute the named outputs, in the order asked; safe to call from several threads.

        Parameters
        ----------
        outputs : sequence of str
        feeds : mapping
            Input → array, or an output that a graph kept on the same device.
        keep : collection of str
            Outputs that stay on the device.

        Raises
        ------
        DeviceFailed
        """


def on_host(value: Value) -> Array:
    """Return an output that a graph kept on its device as an array."""
    array: Array = value if isinstance(value, np.ndarray) else value.numpy()
    return array
