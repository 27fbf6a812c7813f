"""ONNX Runtime on CPU and CUDA, asked after its creation what it really runs on."""

import importlib
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any, Final

from cxr_edge.backends.base import Array, Tensor
from cxr_edge.errors import BundleTensors, DeviceUnavailable

PROVIDERS: Final = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}

NO_FOLDER: Final = "/external weights are not read"

_DTYPES: Final = {
    "tensor(uint8)": "uint8",
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(int64)": "int64",
}


class OnnxRuntimeGraph:
    """One ONNX graph in one session.

    Parameters
    ----------
    onnx : bytes
        The serialised model.
    device : str
        ``cpu`` or ``cuda``.
    threads : int
        Threads that share one inference on the CPU.

    Raises
    ------
    DeviceUnavailable
        ONNX Runtime or its provider is missing, or the session fell back to another device.
    BundleTensors
        The graph does not load on the CPU.
    """

    def __init__(self, onnx: bytes, device: str, threads: int) -> None:
        runtime = _runtime()
        provider = PROVIDERS[device]
        if provider not in runtime.get_available_providers():
            raise DeviceUnavailable(
                f"{device}: the ONNX Runtime installed here has no {provider}; "
                "install the extra gpu instead of cpu, as the README says"
            )
        options = runtime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        # Weights outside the graph would not be under the manifest's hashes.
        options.add_session_config_entry("session.model_external_initializers_file_folder_path", NO_FOLDER)
        try:
            self._session = runtime.InferenceSession(onnx, options, providers=[provider], enable_fallback=0)
        except Exception as error:  # ONNX Runtime's exceptions share no narrower public base
            refusal = BundleTensors if device == "cpu" else DeviceUnavailable
            raise refusal(f"{device}: ONNX Runtime {runtime.__version__} cannot load the graph ({error})") from error
        if self._session.get_providers()[0] != provider:
            raise DeviceUnavailable(
                f"{device}: {provider} is installed but did not start, so ONNX Runtime fell back to "
                f"{self._session.get_providers()[0]}; check the NVIDIA driver, CUDA and cuDNN "
                f"(ONNX Runtime {runtime.__version__} printed what is missing above)"
            )
        self._device = device

    @property
    def device(self) -> str:
        """The device it truly runs on."""
        return self._device

    @property
    def inputs(self) -> Mapping[str, Tensor]:
        """Every input by name."""
        return {i.name: _tensor(i) for i in self._session.get_inputs()}

    @property
    def outputs(self) -> Mapping[str, Tensor]:
        """Every output by name."""
        return {o.name: _tensor(o) for o in self._session.get_outputs()}

    def run(self, outputs: Sequence[str], feeds: Mapping[str, Array]) -> list[Array]:
        """Compute the named outputs, in the order asked; safe to call from several threads."""
        results: list[Array] = self._session.run(list(outputs), dict(feeds))
        return results


def _runtime() -> ModuleType:
    try:
        return importlib.import_module("onnxruntime")
    except ModuleNotFoundError as error:
        raise DeviceUnavailable(
            "ONNX Runtime is not installed; install cxr-edge with its extra cpu, or gpu on a machine with CUDA"
        ) from error


def _tensor(described: Any) -> Tensor:
    shape = tuple(d if isinstance(d, int) else None for d in described.shape)
    return Tensor(_DTYPES.get(described.type, described.type), shape)
