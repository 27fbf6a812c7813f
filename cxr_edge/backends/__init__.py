"""Devices: which back end runs a graph, and what ``auto`` chose and why."""

import os
from typing import Final

from cxr_edge.backends.base import Array, Graph
from cxr_edge.backends.onnxruntime import PROVIDERS, OnnxRuntimeGraph
from cxr_edge.errors import DeviceUnavailable

__all__ = ["DEVICES", "Array", "Graph", "open_graph", "open_on_best_device", "usable_cores"]

#: What ``--device`` takes, fastest first after ``auto``.
DEVICES: Final = ("auto", "cuda", "cpu")


def usable_cores() -> int:
    """Count the cores this process may run on (its affinity, where the system tells)."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def open_graph(onnx: bytes, device: str, threads: int) -> Graph:
    """Open a graph on one named device.

    Parameters
    ----------
    onnx : bytes
    device : str
        One of `DEVICES`, but ``auto``.
    threads : int
        Threads that share one inference on the CPU.

    Raises
    ------
    DeviceUnavailable, BundleTensors
    """
    if device not in PROVIDERS:
        raise DeviceUnavailable(f"expected a device out of {', '.join(DEVICES)}, got {device!r}")
    return OnnxRuntimeGraph(onnx, device, threads)


def open_on_best_device(onnx: bytes, threads: int) -> tuple[Graph, str]:
    """Open a graph on the fastest device that truly works, and say why it is that one."""
    refusals = []
    for device in DEVICES[1:]:
        try:
            graph = open_graph(onnx, device, threads)
        except DeviceUnavailable as refusal:
            refusals.append(str(refusal))
        else:
            faults = [refusal.split(";")[0] for refusal in refusals]  # what is wrong, without the remedy
            return graph, "; not ".join(["the fastest that works here", *faults])
    raise DeviceUnavailable("; ".join(dict.fromkeys(refusals)))
