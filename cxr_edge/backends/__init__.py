"""Devices: which back end runs a graph."""

import os
from typing import Final

from cxr_edge.backends.base import Array, Graph, Resources
from cxr_edge.errors import UnknownPrecision

__all__ = ["DEVICES", "ONE_THREAD", "PREFERRED", "Array", "Graph", "Resources", "open_graph", "usable_cores"]

#: What ``--device`` takes.
DEVICES: Final = ("auto", "cpu", "cuda", "tensorrt-ep", "tensorrt", "openvino")

#: The precision a device computes in unless another is asked for; elsewhere the bundle's default.
PREFERRED: Final = {"tensorrt": "fp16", "tensorrt-ep": "fp16"}


ONE_THREAD: Final = Resources()


def usable_cores() -> int:
    """Count the cores this process may run on (its affinity, where the system tells)."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def open_graph(onnx: bytes, device: str = "cpu", precision: str = "fp32", resources: Resources = ONE_THREAD) -> Graph:
    """Open a graph on one device.

    Parameters
    ----------
    onnx : bytes
        The serialised graph, in the precision asked for.
    device : str
        One of `DEVICES`, but ``auto``.
    precision : str
        Name of the variant the graph is of; or ``bf16`` with a float32 graph, for OpenVINO.
    resources : Resources

    Raises
    ------
    DeviceUnavailable, BundleTensors, UnknownPrecision
    """
    if precision == "int8" and device != "cpu":
        raise UnknownPrecision("int8 is made for the device cpu alone; name that device, or another precision")
    # A back end's packages are imported only where it is asked for.
    if device == "openvino":
        from cxr_edge.backends.openvino import OpenVinoGraph

        return OpenVinoGraph(onnx, precision, resources)
    if precision == "bf16":
        raise UnknownPrecision("bf16 needs the device openvino; name that device, or another precision")
    if device == "tensorrt":
        from cxr_edge.backends.tensorrt import TensorRTGraph
        from cxr_edge.engine.choose import load_engine

        return TensorRTGraph(*load_engine(onnx, precision, resources.batch), resources)
    from cxr_edge.backends.onnxruntime import OnnxRuntimeGraph

    return OnnxRuntimeGraph(onnx, device, precision, resources)
