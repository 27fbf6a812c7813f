"""Opened graphs and the process that opened them: what a fork may do with a model that was loaded before it.

A fork has none of the threads that its parent's sessions compute on, and to destroy such a session is to wait for them
without end. So the sessions of a parent are neither run nor destroyed in a fork, which opens the graphs again.
"""

import ctypes
import os
import threading
import weakref
from dataclasses import replace
from typing import Final

from cxr_edge.backends.base import Resources
from cxr_edge.errors import ForkedModel
from cxr_edge.model.bundle import Bundle, read_files
from cxr_edge.model.graphs import Graphs, open_graphs

#: Devices that can be opened in a fork of a process that used them.
_OPEN_AGAIN: Final = frozenset({"cpu"})

_lock = threading.Lock()


class OpenGraphs:
    """A bundle's graphs, opened in this process.

    Parameters
    ----------
    bundle, device, precision, resources
        As for `cxr_edge.model.graphs.open_graphs`.
    """

    def __init__(self, bundle: Bundle, device: str, precision: str | None, resources: Resources) -> None:
        self._bundle = replace(bundle, files={})
        self._resources = resources
        self._own(open_graphs(bundle, device, precision, resources))

    @property
    def described(self) -> Graphs:
        """The graphs to look at, in this process or the one it was forked from; they may not be run."""
        return self._graphs

    def get(self) -> Graphs:
        """Return the graphs, opened again if this is a fork.

        Raises
        ------
        ForkedModel
            The device cannot be opened again in a fork.
        BundleDamaged
            A file of the bundle has changed since the model was loaded.
        """
        if self._process != os.getpid():
            with _lock:
                if self._process != os.getpid():
                    self._own(self._opened_again())
        return self._graphs

    def _opened_again(self) -> Graphs:
        before = self._graphs
        if (device := before.device) not in _OPEN_AGAIN:
            raise ForkedModel(
                f"the model was loaded on {device} in the process {self._process}, of which this is a fork, and a fork "
                "cannot use that device: load the model in each worker, after the fork"
            )
        bundle = replace(self._bundle, files=read_files(self._bundle.root, self._bundle.manifest))
        return replace(open_graphs(bundle, device, before.precision, self._resources), reason=before.reason)

    def _own(self, graphs: Graphs) -> None:
        """Take graphs of this process; they are destroyed with this object, but never in a fork."""
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(graphs))
        weakref.finalize(self, _disown, graphs, os.getpid())
        self._graphs, self._process = graphs, os.getpid()


def _disown(graphs: Graphs, owner: int) -> None:
    if owner == os.getpid():
        ctypes.pythonapi.Py_DecRef(ctypes.py_object(graphs))


def _after_fork() -> None:
    global _lock
    _lock = threading.Lock()  # another thread may have held it


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
