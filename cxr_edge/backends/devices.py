"""The table of devices: the name of each, its precisions, and how it opens a graph."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from cxr_edge.backends.base import Graph, Resources

Opener = Callable[[bytes, str, Resources], Graph]


@dataclass(frozen=True)
class Device:
    """A way to run graphs.

    Attributes
    ----------
    name : str
        As ``--device`` takes it.
    open : callable
        (serialised graph, precision, resources) → graph. The packages of a back end are imported here, and only here.
    preferred_precision : str or None
        Used unless another is asked for; None: the bundle's default.
    own_precisions : tuple of str
        Precisions that this device alone computes in.
    auto_rank : int or None
        Position among the devices that ``auto`` tries, the fastest first. None: not tried, because it compiles for
        minutes when a model is first loaded.
    on_gpu : bool
        Whether it takes GPU memory.
    spins : bool
        Whether its idle threads can wait busily.
    """

    name: str
    open: Opener
    preferred_precision: str | None = None
    own_precisions: tuple[str, ...] = ()
    auto_rank: int | None = None
    on_gpu: bool = True
    spins: bool = True


def _onnxruntime(device: str) -> Opener:
    def opened(graph: bytes, precision: str, resources: Resources) -> Graph:
        from cxr_edge.backends.onnxruntime import OnnxRuntimeGraph

        return OnnxRuntimeGraph(graph, device, precision, resources)

    return opened


def _tensorrt(graph: bytes, precision: str, resources: Resources) -> Graph:
    from cxr_edge.backends.tensorrt.choose import load_engine
    from cxr_edge.backends.tensorrt.graph import TensorRTGraph

    return TensorRTGraph(*load_engine(graph, precision, resources.batch), resources)


def _openvino(graph: bytes, precision: str, resources: Resources) -> Graph:
    from cxr_edge.backends.openvino import OpenVinoGraph

    return OpenVinoGraph(graph, precision, resources)


_TABLE: Final = (
    Device("cpu", _onnxruntime("cpu"), own_precisions=("int8",), auto_rank=2, on_gpu=False),
    Device("cuda", _onnxruntime("cuda"), auto_rank=1),
    Device("tensorrt-ep", _onnxruntime("tensorrt-ep"), preferred_precision="fp16"),
    Device("tensorrt", _tensorrt, preferred_precision="fp16", auto_rank=0, spins=False),
    Device("openvino", _openvino, own_precisions=("bf16",), auto_rank=3, on_gpu=False, spins=False),
)

#: Name → device.
DEVICES: Final[Mapping[str, Device]] = MappingProxyType({device.name: device for device in _TABLE})

#: Names that ``--device`` takes.
DEVICE_NAMES: Final = ("auto", *DEVICES)

#: Devices that ``auto`` tries, the fastest first.
AUTO: Final = tuple(
    device.name
    for device in sorted(
        (device for device in _TABLE if device.auto_rank is not None), key=lambda device: device.auto_rank or 0
    )
)
