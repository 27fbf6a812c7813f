"""The TensorRT runner, as far as it can be checked without a GPU: its calls exist in NVIDIA's packages."""

import inspect
import re

import pytest
import tensorrt_rtx as trt
from cuda.bindings import runtime

from cxr_edge.backends.tensorrt import graph as runner

SOURCE = inspect.getsource(runner)


def test_every_call_of_cuda_exists():
    called = set(re.findall(r'(?:call|release_with)\((?:\w+, )?"(cuda\w+)"', SOURCE))
    assert {"cudaMalloc", "cudaMallocHost", "cudaGraphLaunch", "cudaStreamEndCapture", "cudaFreeHost"} <= called
    assert [name for name in called if not hasattr(runtime, name)] == []
    for kind in ("HostToDevice", "DeviceToHost", "DeviceToDevice"):
        assert f"cudaMemcpy{kind}" in runtime.cudaMemcpyKind.__members__
        assert f'"{kind}"' in SOURCE
    assert "cudaStreamCaptureModeThreadLocal" in runtime.cudaStreamCaptureMode.__members__
    assert runtime.cudaStreamNonBlocking


@pytest.mark.parametrize(
    ("pattern", "owner"),
    [
        (r"self\._runtime\.(\w+)", "Runtime"),
        (r"(?:self\._)?engine\.(get_\w+|num_\w+|create_\w+|device_\w+)", "ICudaEngine"),
        (r"_context\.(\w+)", "IExecutionContext"),
    ],
)
def test_every_call_of_tensorrt_exists(pattern, owner):
    called = set(re.findall(pattern, SOURCE))
    assert called
    assert [name for name in called if not hasattr(getattr(trt, owner), name)] == []


def test_every_dtype_is_one_of_tensorrts():
    assert set(runner._DTYPES) <= set(trt.DataType.__members__)


def test_a_failing_call_raises_cudas_own_status(no_gpu):
    with pytest.raises(runner._CudaError, match=r"cudaMalloc: cudaError\w+"):
        runner._Cuda().call("cudaMalloc", 16)


@pytest.mark.parametrize("kind", ["HostToDevice", "DeviceToHost", "DeviceToDevice"])
def test_a_copy_reaches_cuda(no_gpu, kind):
    with pytest.raises(runner._CudaError, match=r"cudaMemcpyAsync: cudaError\w+"):
        runner._Cuda().copy(0, 0, 16, kind, 0)
