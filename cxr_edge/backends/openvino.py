"""OpenVINO on the CPU, in float32 or bfloat16. After compiling it is asked what it actually computes in."""

import importlib
import queue
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

from cxr_edge.backends.base import Resources, Tensor, Value
from cxr_edge.errors import BundleTensors, DeviceFailed, DeviceUnavailable, UnknownPrecision, how_to_get
from cxr_edge.support.parallel import usable_cores

#: Precision → OpenVINO's name for it.
PRECISIONS: Final = {"fp32": "f32", "bf16": "bf16"}

_DTYPES: Final = {"f32": "float32", "f16": "float16", "u8": "uint8", "i64": "int64"}


class OpenVinoGraph:
    """One ONNX graph compiled for the CPU.

    Parameters
    ----------
    onnx : bytes
        The serialised model.
    precision : str
        One of `PRECISIONS`.
    resources : Resources

    Raises
    ------
    DeviceUnavailable
        OpenVINO is missing, or computes in another precision on this CPU.
    UnknownPrecision
    BundleTensors
        The graph does not load.
    """

    def __init__(self, onnx: bytes, precision: str, resources: Resources) -> None:
        try:
            openvino: Any = importlib.import_module("openvino")
        except ModuleNotFoundError as error:
            raise DeviceUnavailable(f"openvino: the package is not installed; {how_to_get('openvino')}") from error
        except (ImportError, OSError) as error:
            raise DeviceUnavailable(f"openvino: the package cannot be loaded ({error}); install it again") from error
        except RuntimeError as error:  # its telemetry's, in a place that has no home for this user
            raise DeviceUnavailable(
                f"openvino: the package cannot be loaded ({error}); set HOME, or use cpu"
            ) from error
        if precision not in PRECISIONS:
            raise UnknownPrecision(
                f"openvino computes in {' or '.join(PRECISIONS)}, not in {precision}; name one of them"
            )
        streams = max(1, usable_cores() // resources.threads)  # with one stream, images would wait for each other
        settings = {
            "INFERENCE_PRECISION_HINT": PRECISIONS[precision],
            "INFERENCE_NUM_THREADS": resources.threads * streams,
            "NUM_STREAMS": streams,
        }
        core = openvino.Core()
        try:
            self._compiled = core.compile_model(core.read_model(onnx, b""), "CPU", settings)
        except RuntimeError as error:
            raise BundleTensors(f"openvino: version {openvino.__version__} cannot load the graph ({error})") from error
        computes = self._compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
        if computes != PRECISIONS[precision]:
            raise DeviceUnavailable(
                f"openvino: this CPU computes in {computes} where {precision} was asked for; use fp32"
            )
        self._requests: queue.SimpleQueue[Any] = queue.SimpleQueue()

    @property
    def device(self) -> str:
        """The device that the graph actually runs on."""
        return "openvino"

    @property
    def inputs(self) -> Mapping[str, Tensor]:
        """Every input by name."""
        return {port.any_name: _tensor(port) for port in self._compiled.inputs}

    @property
    def outputs(self) -> Mapping[str, Tensor]:
        """Every output by name; by several, where OpenVINO left out nodes that only rename a tensor."""
        return {name: _tensor(port) for port in self._compiled.outputs for name in port.names}

    def run(
        self,
        outputs: Sequence[str],
        feeds: Mapping[str, Value],
        keep: Collection[str] = (),  # noqa: ARG002 - the device's memory is the CPU's
    ) -> list[Value]:
        """Compute the named outputs; see `cxr_edge.backends.base.Graph`."""
        try:
            request = self._requests.get_nowait()
        except queue.Empty:
            request = self._compiled.create_infer_request()
        try:
            request.infer(dict(feeds))
            return [request.get_tensor(name).data.copy() for name in outputs]
        except RuntimeError as error:
            raise DeviceFailed(
                f"openvino failed while it computed ({error}); run the same command again to go on"
            ) from error
        finally:
            self._requests.put(request)


def _tensor(port: Any) -> Tensor:
    shape = tuple(d.get_length() if d.is_static else None for d in port.get_partial_shape())
    kind = port.get_element_type().get_type_name()
    return Tensor(_DTYPES.get(kind, kind), shape)
