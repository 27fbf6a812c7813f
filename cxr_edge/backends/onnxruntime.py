"""ONNX Runtime on CPU, CUDA and TensorRT. Every session is asked, once made, what it actually runs on."""

import contextlib
import ctypes
import hashlib
import importlib
import importlib.util
import io
import os
import sys
from collections.abc import Collection, Mapping, Sequence
from types import ModuleType
from typing import Any, Final

from cxr_edge.backends.base import Resources, Tensor, Value
from cxr_edge.backends.nvidia import find_gpu
from cxr_edge.errors import BundleTensors, DeviceFailed, DeviceUnavailable, how_to_get
from cxr_edge.support.cache import cache_folder

PROVIDERS: Final = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt-ep": "TensorrtExecutionProvider",
}

NO_FOLDER: Final = "/external weights are not read"

#: Libraries that ONNX Runtime's providers are linked against, up to and including ONNX Runtime 1.31.
_CUDNN: Final = "cudnn64_9.dll" if sys.platform == "win32" else "libcudnn.so.9"
_TENSORRT: Final = "nvinfer_10.dll" if sys.platform == "win32" else "libnvinfer.so.10"

_REMEDY: Final = {
    "cuda": "check `nvidia-smi`; CUDA 13 and cuDNN 9 also come with `pip install 'onnxruntime-gpu[cuda,cudnn]'`",
    "tensorrt-ep": "check `nvidia-smi`; it needs CUDA 13, cuDNN 9 and TensorRT 10",
}

#: Operators that take most of the time. Operators that only handle shapes may stay on the CPU.
_WORK: Final = frozenset({"Conv", "FusedConv", "Gemm", "MatMul", "FusedMatMul"})

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
        One of `PROVIDERS`.
    precision : str
        ``fp16`` lets TensorRT compute in half precision, which the graph must already name.
    resources : Resources

    Raises
    ------
    DeviceUnavailable
        ONNX Runtime, its provider, a library of NVIDIA's or a GPU is missing, or the session fell
        back to another device.
    BundleTensors
        The graph does not load on the CPU.
    """

    def __init__(self, onnx: bytes, device: str, precision: str, resources: Resources) -> None:
        runtime = load_runtime()
        if faults := faults_of(device, runtime):
            raise DeviceUnavailable(f"{device}: {'; '.join(faults)}; {_REMEDY[device]}")
        options = runtime.SessionOptions()
        options.intra_op_num_threads = resources.threads
        options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", str(int(resources.spinning)))
        # Weights outside the graph would not be under the manifest's hashes.
        options.add_session_config_entry("session.model_external_initializers_file_folder_path", NO_FOLDER)
        options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
        providers = _providers(device, onnx, precision, resources)
        try:
            self._session = runtime.InferenceSession(onnx, options, providers=providers, enable_fallback=0)
        except Exception as error:  # ONNX Runtime's exceptions share no narrower public base
            refusal = BundleTensors if device == "cpu" else DeviceUnavailable
            raise refusal(f"{device}: ONNX Runtime {runtime.__version__} cannot load the graph ({error})") from error
        if (found := self._session.get_providers()[0]) != PROVIDERS[device]:
            raise DeviceUnavailable(
                f"{device}: {PROVIDERS[device]} did not start, and ONNX Runtime {runtime.__version__} fell back to "
                f"{found} (it printed why); {_REMEDY[device]}"
            )
        if left := _left_elsewhere(self._session, device):
            raise DeviceUnavailable(
                f"{device}: ONNX Runtime {runtime.__version__} did not assign {', '.join(left)} to "
                f"{PROVIDERS[device]}; update onnxruntime-gpu"
            )
        self._device = device
        self._memory = "cpu" if device == "cpu" else "cuda"

    @property
    def device(self) -> str:
        """The device that the graph actually runs on."""
        return self._device

    @property
    def inputs(self) -> Mapping[str, Tensor]:
        """Every input by name."""
        return {i.name: _tensor(i) for i in self._session.get_inputs()}

    @property
    def outputs(self) -> Mapping[str, Tensor]:
        """Every output by name."""
        return {o.name: _tensor(o) for o in self._session.get_outputs()}

    def run(self, outputs: Sequence[str], feeds: Mapping[str, Value], keep: Collection[str] = ()) -> list[Value]:
        """Compute the named outputs; see `cxr_edge.backends.base.Graph`."""
        binding = self._session.io_binding()
        for name, value in feeds.items():
            bind = binding.bind_ortvalue_input if hasattr(value, "is_tensor") else binding.bind_cpu_input
            bind(name, value)
        for name in outputs:
            binding.bind_output(name, self._memory if name in keep else "cpu")
        try:
            self._session.run_with_iobinding(binding)
        except Exception as error:  # as above
            raise DeviceFailed(
                f"{self._device} failed while it computed ({error}); finished results are kept: run the same "
                "command again to go on, or choose another --device and another --out"
            ) from error
        found = zip(outputs, binding.get_outputs(), strict=True)
        return [value if name in keep else value.numpy() for name, value in found]


def load_runtime() -> ModuleType:
    """Import ONNX Runtime with its telemetry off: from 1.29 on it reports to Microsoft which models it loads.

    ``ORT_DISABLE_TELEMETRY`` is read on import. A value that is already set is left as it is.

    Raises
    ------
    DeviceUnavailable
        ONNX Runtime is not installed, or only a part of it is.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    try:
        runtime = importlib.import_module("onnxruntime")
    except ModuleNotFoundError as error:
        raise DeviceUnavailable(
            f"ONNX Runtime is not installed; {how_to_get('cpu')}; with an NVIDIA GPU, gpu instead of cpu"
        ) from error
    except ImportError as error:
        raise DeviceUnavailable(f"ONNX Runtime cannot be loaded ({error}); install it again") from error
    if not hasattr(runtime, "InferenceSession"):
        # onnxruntime and onnxruntime-gpu share a folder: to remove one also removes files of the other.
        raise DeviceUnavailable(
            "ONNX Runtime is installed in part only; uninstall onnxruntime and onnxruntime-gpu, then "
            f"{how_to_get('cpu')}; with an NVIDIA GPU, gpu instead of cpu"
        )
    return runtime


def faults_of(device: str, runtime: ModuleType) -> list[str]:
    """Return everything that a device lacks here; a session made without it would fall back to another device."""
    if device == "cpu":
        return []
    faults = []
    try:
        find_gpu()
    except DeviceUnavailable as fault:
        faults.append(str(fault))
    if PROVIDERS[device] not in runtime.get_available_providers():
        return [
            *faults,
            f"the ONNX Runtime installed here has no {PROVIDERS[device]}: uninstall onnxruntime, then "
            f"{how_to_get('gpu')}",
        ]
    faults += missing_cuda_libraries(runtime)
    if device == "tensorrt-ep":
        faults += missing_tensorrt()
    return faults


def missing_cuda_libraries(runtime: ModuleType) -> list[str]:
    """Load the CUDA and cuDNN libraries that ONNX Runtime needs, and return those that are missing.

    ONNX Runtime's own loader looks in NVIDIA's packages and in the system, and prints what is missing. It
    does not report a missing cuDNN.
    """
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        runtime.preload_dlls()
    printed = [line for line in output.getvalue().splitlines() if line.startswith("Failed to load ")]
    missing = [line.removeprefix("Failed to load ").partition(":")[0] + " is not found" for line in printed]
    return [*missing, *_missing(_CUDNN)]


def missing_tensorrt() -> list[str]:
    """Load the TensorRT that ONNX Runtime is linked against, and return it if it is missing."""
    if importlib.util.find_spec("tensorrt_libs"):
        with contextlib.suppress(ImportError):
            importlib.import_module("tensorrt_libs")  # NVIDIA's wheel loads its libraries
    return _missing(_TENSORRT)


def _missing(library: str) -> list[str]:
    try:
        ctypes.CDLL(library)
    except OSError:
        return [f"{library} is not found"]
    return []


def _providers(device: str, onnx: bytes, precision: str, resources: Resources) -> list[Any]:
    cuda = (
        PROVIDERS["cuda"],
        {
            "gpu_mem_limit": str(resources.gpu_memory if device == "cuda" else resources.gpu_memory // 2),
            "arena_extend_strategy": "kSameAsRequested",
            "use_tf32": "0",  # fp32 means fp32
        },
    )
    if device == "cuda":
        return [cuda]
    if device == "tensorrt-ep":
        # Models of the same shape would take each other's engines from one folder (onnxruntime#6455).
        folder = cache_folder("tensorrt-ep", hashlib.sha256(onnx).hexdigest()[:16])
        tensorrt = (
            PROVIDERS["tensorrt-ep"],
            {
                "trt_engine_cache_enable": "1",
                "trt_engine_cache_path": str(folder),
                "trt_timing_cache_enable": "1",
                "trt_timing_cache_path": str(folder),
                "trt_max_workspace_size": str(resources.gpu_memory // 2),
                "trt_fp16_enable": str(int(precision == "fp16")),
            },
        )
        return [tensorrt, cuda]
    return [PROVIDERS[device]]


def _left_elsewhere(session: Any, device: str) -> list[str]:
    """Return the operators of `_WORK` that the provider did not take; empty where an older version cannot report it."""
    if device == "cpu" or not hasattr(session, "get_provider_graph_assignment_info"):
        return []
    parts = session.get_provider_graph_assignment_info()
    elsewhere = {node.op_type for part in parts if part.ep_name != PROVIDERS[device] for node in part.get_nodes()}
    return sorted(elsewhere & _WORK)


def _tensor(described: Any) -> Tensor:
    shape = tuple(d if isinstance(d, int) else None for d in described.shape)
    return Tensor(_DTYPES.get(described.type, described.type), shape)
