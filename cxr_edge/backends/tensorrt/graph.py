"""A TensorRT engine on an NVIDIA GPU: buffers and addresses set once, one CUDA graph for each batch size.

An execution context is not thread-safe, so there is a pool of lanes. Each lane has its own stream, pinned
host buffers and device buffers for the profile's largest batch. For each batch size that it runs it has an
execution context, because a captured graph depends on the context's state. Inputs are copied to the device,
the engine runs, outputs are copied back. An output that is kept stays in device memory of its own.
"""

import ctypes
import queue
import threading
import weakref
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Final

import numpy as np

from cxr_edge.backends.base import Array, Resources, Tensor, Value
from cxr_edge.backends.tensorrt.choose import REMEDY
from cxr_edge.backends.tensorrt.library import INSTALL, Library
from cxr_edge.backends.tensorrt.store import Identity
from cxr_edge.errors import DeviceFailed, DeviceUnavailable

#: Lanes that run at the same time; more would only wait for the GPU.
MOST_LANES: Final = 4

#: Number of batch sizes in use: one TTA variant, and all of them.
SIZES: Final = 2

_DTYPES: Final = {"FLOAT": "float32", "HALF": "float16", "UINT8": "uint8", "INT64": "int64", "INT32": "int32"}


class TensorRTGraph:
    """One engine, loaded.

    Parameters
    ----------
    library : Library
    plan : bytes
        The engine, verified by `cxr_edge.backends.tensorrt.choose.load_engine`: it contains code.
    identity : Identity
        Of the engine.
    resources : Resources

    Raises
    ------
    DeviceUnavailable
        CUDA's Python package is missing, the engine does not load here, or the GPU has too little memory.
    """

    def __init__(self, library: Library, plan: bytes, identity: Identity, resources: Resources) -> None:
        trt, self._cuda = library.module, _Cuda()
        self._runtime = trt.Runtime(library.logger)
        self._runtime.engine_host_code_allowed = identity.version_compatible  # such an engine brings its own runtime
        self._engine = self._runtime.deserialize_cuda_engine(plan)
        if self._engine is None:
            raise DeviceUnavailable(
                f"tensorrt: {library.name} {library.version} does not load the engine ({library.last_error()}); "
                f"{REMEDY} --force"
            )
        self._tensors = _tensors(trt, self._engine)
        buffers = sum(tensor.bytes for tensor in self._tensors.values())
        of_a_lane = buffers + SIZES * self._engine.device_memory_size_v2
        for_lanes = resources.gpu_memory - len(plan)  # about the size of its weights
        if of_a_lane > for_lanes:
            raise DeviceUnavailable(
                f"tensorrt: expected an engine that takes at most the {resources.gpu_memory} bytes of gpu_memory, got "
                f"one that takes {len(plan) + of_a_lane} for batches of {self.largest_batch}; allow more, or build it "
                "with a smaller --batch"
            )
        self._slots = threading.BoundedSemaphore(min(MOST_LANES, for_lanes // of_a_lane))
        self._idle: queue.SimpleQueue[_Lane] = queue.SimpleQueue()
        with self._lane():  # make the first one now, so that too little memory is reported here
            pass

    @property
    def device(self) -> str:
        """The device that the graph actually runs on."""
        return "tensorrt"

    @property
    def inputs(self) -> Mapping[str, Tensor]:
        """Every input by name."""
        return {name: t.described for name, t in self._tensors.items() if t.is_input}

    @property
    def outputs(self) -> Mapping[str, Tensor]:
        """Every output by name."""
        return {name: t.described for name, t in self._tensors.items() if not t.is_input}

    @property
    def largest_batch(self) -> int:
        """Most inputs at a time."""
        return min(tensor.shape[0] for tensor in self._tensors.values())

    def run(self, outputs: Sequence[str], feeds: Mapping[str, Value], keep: Collection[str] = ()) -> list[Value]:
        """Compute the named outputs; see `cxr_edge.backends.base.Graph`."""
        count = len(next(iter(feeds.values())))
        if count > self.largest_batch:
            raise DeviceFailed(
                f"tensorrt: expected at most {self.largest_batch} inputs at a time, got {count}; "
                f"{REMEDY} with a larger --batch"
            )
        try:
            with self._lane() as lane:
                return lane.run(outputs, feeds, keep, count)
        except (_CudaError, DeviceUnavailable) as error:
            raise DeviceFailed(
                f"tensorrt failed while it computed ({error}); finished results are kept: run the same "
                "command again to go on, or choose another --device and another --out"
            ) from error

    @contextmanager
    def _lane(self) -> Iterator["_Lane"]:
        """Take a lane out of the pool, or make one. A lane that failed is not returned to the pool."""
        with self._slots:
            try:
                lane = self._idle.get_nowait()
            except queue.Empty:
                lane = self._made()
            yield lane
            self._idle.put(lane)

    def _made(self) -> "_Lane":
        try:
            return _Lane(self._cuda, self._engine, self._tensors)
        except _CudaError as error:
            raise DeviceUnavailable(f"tensorrt: the GPU has no room for the engine's buffers ({error})") from error


class Kept:
    """An output kept on the device, in memory of its own, which is freed with this object."""

    def __init__(self, cuda: "_Cuda", tensor: "_Tensor", count: int) -> None:
        self.bytes = tensor.bytes_of(count)
        self.pointer = cuda.call("cudaMalloc", self.bytes)
        self._cuda, self._tensor, self._count = cuda, tensor, count
        cuda.release_with(self, "cudaFree", self.pointer)

    def __len__(self) -> int:
        return self._count

    def numpy(self) -> Array:
        """Copy it to the host."""
        array = np.empty((self._count, *self._tensor.shape[1:]), self._tensor.dtype)
        kind = self._cuda.runtime.cudaMemcpyKind.cudaMemcpyDeviceToHost
        self._cuda.call("cudaMemcpy", array.ctypes.data, self.pointer, self.bytes, kind)
        return array


class _CudaError(Exception):
    """A CUDA call failed."""


class _Cuda:
    """CUDA's runtime, with its status codes turned into exceptions."""

    def __init__(self) -> None:
        try:
            from cuda.bindings import runtime
        except ImportError as error:
            raise DeviceUnavailable(
                f"tensorrt: the package cuda-bindings cannot be imported ({error}); {INSTALL}"
            ) from error
        self.runtime: ModuleType = runtime

    def call(self, function: str, *arguments: Any) -> Any:
        status, *results = getattr(self.runtime, function)(*arguments)
        if status != self.runtime.cudaError_t.cudaSuccess:
            raise _CudaError(f"{function}: {status.name}")
        return results[0] if len(results) == 1 else None

    def release_with(self, owner: object, function: str, handle: Any) -> None:
        """Release a handle when its owner is deleted; at the end of the process the driver does so."""
        weakref.finalize(owner, getattr(self.runtime, function), handle).atexit = False

    def copy(self, target: int, source: int, size: int, kind: str, stream: Any) -> None:
        self.call(
            "cudaMemcpyAsync", target, source, size, getattr(self.runtime.cudaMemcpyKind, f"cudaMemcpy{kind}"), stream
        )


@dataclass(frozen=True)
class _Tensor:
    """An input or output at the profile's largest batch."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    is_input: bool

    @property
    def described(self) -> Tensor:
        return Tensor(self.dtype.name, (None, *self.shape[1:]))

    @property
    def bytes(self) -> int:
        return self.bytes_of(self.shape[0])

    def bytes_of(self, count: int) -> int:
        return count * int(np.prod(self.shape[1:], dtype=np.int64)) * self.dtype.itemsize


def _tensors(trt: ModuleType, engine: Any) -> dict[str, _Tensor]:
    """Describe inputs and outputs; an output's batch is the inputs' largest."""
    names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
    is_input = {name: engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT for name in names}
    largest = min(engine.get_tensor_profile_shape(name, 0)[2][0] for name in names if is_input[name])
    return {
        name: _Tensor(
            dtype=np.dtype(_DTYPES[engine.get_tensor_dtype(name).name]),
            shape=(largest, *tuple(engine.get_tensor_shape(name))[1:]),
            is_input=is_input[name],
        )
        for name in names
    }


class _Lane:
    """A stream with its buffers, and an execution for each batch size. One thread uses it at a time."""

    def __init__(self, cuda: _Cuda, engine: Any, tensors: Mapping[str, _Tensor]) -> None:
        self._cuda, self._engine, self._tensors = cuda, engine, tensors
        self._stream = cuda.call("cudaStreamCreateWithFlags", cuda.runtime.cudaStreamNonBlocking)
        cuda.release_with(self, "cudaStreamDestroy", self._stream)
        self._device: dict[str, int] = {}
        self._host: dict[str, Array] = {}
        self._executions: dict[int, _Execution] = {}
        for name, tensor in tensors.items():
            self._device[name] = cuda.call("cudaMalloc", tensor.bytes)
            cuda.release_with(self, "cudaFree", self._device[name])
            pinned = cuda.call("cudaMallocHost", tensor.bytes)
            cuda.release_with(self, "cudaFreeHost", pinned)
            memory = (ctypes.c_byte * tensor.bytes).from_address(pinned)
            self._host[name] = np.ndarray(tensor.shape, tensor.dtype, memoryview(memory))

    def run(self, outputs: Sequence[str], feeds: Mapping[str, Value], keep: Collection[str], count: int) -> list[Value]:
        for name, value in feeds.items():
            self._copy_in(name, value, count)
        if count not in self._executions:
            self._executions[count] = _Execution(
                self._cuda, self._engine, self._tensors, self._device, self._stream, count
            )
        self._executions[count].run()
        values = [self._copy_out(name, count, keep=name in keep) for name in outputs]
        self._cuda.call("cudaStreamSynchronize", self._stream)
        return [value if isinstance(value, Kept) else value.copy() for value in values]

    def _copy_in(self, name: str, value: Value, count: int) -> None:
        tensor = self._tensors[name]
        size = tensor.bytes_of(count)
        if isinstance(value, Kept):
            self._cuda.copy(self._device[name], value.pointer, size, "DeviceToDevice", self._stream)
            return
        if value.shape != (count, *tensor.shape[1:]) or value.dtype != tensor.dtype:
            raise ValueError(
                f"{name}: expected {tensor.dtype} {(count, *tensor.shape[1:])}, got {value.dtype} {value.shape}"
            )
        self._host[name][:count] = value
        self._cuda.copy(self._device[name], self._host[name].ctypes.data, size, "HostToDevice", self._stream)

    def _copy_out(self, name: str, count: int, *, keep: bool) -> Value:
        size = self._tensors[name].bytes_of(count)
        if keep:
            kept = Kept(self._cuda, self._tensors[name], count)
            self._cuda.copy(kept.pointer, self._device[name], size, "DeviceToDevice", self._stream)
            return kept
        self._cuda.copy(self._host[name].ctypes.data, self._device[name], size, "DeviceToHost", self._stream)
        return self._host[name][:count]


class _Execution:
    """An execution context for one batch size: its first run is plain, later ones launch a captured CUDA graph."""

    def __init__(
        self,
        cuda: _Cuda,
        engine: Any,
        tensors: Mapping[str, _Tensor],
        addresses: Mapping[str, int],
        stream: Any,
        count: int,
    ) -> None:
        self._cuda, self._stream = cuda, stream
        self._context = engine.create_execution_context()
        if self._context is None:
            raise _CudaError("create_execution_context: no memory")
        self._graph: Any = None
        self._runs = 0
        for name, tensor in tensors.items():
            if tensor.is_input and not self._context.set_input_shape(name, (count, *tensor.shape[1:])):
                raise _CudaError(f"set_input_shape: {name} with a batch of {count}")
            self._context.set_tensor_address(name, addresses[name])

    def run(self) -> None:
        """Compute on the buffers. The first run sets up what depends on the shape, and cannot be captured."""
        self._runs += 1
        if self._graph is None and self._runs > 1 and self._capturable():
            self._capture()
        if self._graph is None:
            self._enqueue()
        else:
            self._cuda.call("cudaGraphLaunch", self._graph, self._stream)

    def _capturable(self) -> bool:
        """Return whether a run can be captured now: with TensorRT for RTX not while it still compiles kernels."""
        ask = getattr(self._context, "is_stream_capturable", None)
        return ask is None or bool(ask(int(self._stream)))

    def _capture(self) -> None:
        mode = self._cuda.runtime.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        self._cuda.call("cudaStreamBeginCapture", self._stream, mode)
        try:
            self._enqueue()
        finally:
            captured = self._cuda.call("cudaStreamEndCapture", self._stream)
        self._graph = self._cuda.call("cudaGraphInstantiate", captured, 0)
        self._cuda.release_with(self, "cudaGraphExecDestroy", self._graph)
        self._cuda.call("cudaGraphDestroy", captured)

    def _enqueue(self) -> None:
        if not self._context.execute_async_v3(int(self._stream)):
            raise _CudaError("execute_async_v3 failed")
