"""Devices: the back ends that run graphs."""

from typing import Final

from cxr_edge.backends.base import Array, Graph, Resources
from cxr_edge.backends.devices import AUTO, DEVICE_NAMES, DEVICES, Device
from cxr_edge.errors import UnknownPrecision

__all__ = [
    "AUTO",
    "DEVICES",
    "DEVICE_NAMES",
    "ONE_THREAD",
    "Array",
    "Device",
    "Graph",
    "Resources",
    "open_graph",
]

ONE_THREAD: Final = Resources()


def open_graph(onnx: bytes, device: str = "cpu", precision: str = "fp32", resources: Resources = ONE_THREAD) -> Graph:
    """Open a graph on one device.

    Parameters
    ----------
    onnx : bytes
        The serialised graph, in the precision asked for.
    device : str
        A key of `DEVICES`.
    precision : str
        Name of the graph's variant; or ``bf16`` with a float32 graph, for OpenVINO.
    resources : Resources

    Raises
    ------
    DeviceUnavailable, BundleTensors, UnknownPrecision
    """
    for other in DEVICES.values():
        if precision in other.own_precisions and other.name != device:
            raise UnknownPrecision(
                f"{precision} needs the device {other.name}, got {device}; name that device, or another precision"
            )
    return DEVICES[device].open(onnx, precision, resources)
