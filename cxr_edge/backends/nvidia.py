"""NVIDIA GPUs as the driver reports them: asked before anything that would crash or fall back without a GPU."""

import ctypes
import sys
from typing import Final, NamedTuple

from cxr_edge.errors import DeviceUnavailable

DRIVER: Final = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"

_MAJOR, _MINOR = 75, 76  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR and _MINOR


class Gpu(NamedTuple):
    """A GPU.

    Attributes
    ----------
    name : str
    architecture : str
        Its compute capability, as ``sm_86``.
    memory : int
        Bytes.
    cuda : str
        Newest CUDA version that the driver runs, as ``13.0``.
    """

    name: str
    architecture: str
    memory: int
    cuda: str


def find_gpu() -> Gpu:
    """Ask the driver for the first GPU.

    Raises
    ------
    DeviceUnavailable
        The driver is missing, or it finds no GPU; the message names what is missing.
    """
    try:
        driver = ctypes.CDLL(DRIVER)
    except OSError as error:
        raise DeviceUnavailable(f"no NVIDIA driver ({DRIVER} is not found)") from error
    _call(driver, "cuInit", ctypes.c_uint(0))
    count, device, version = ctypes.c_int(), ctypes.c_int(), ctypes.c_int()
    _call(driver, "cuDeviceGetCount", ctypes.byref(count))
    if count.value == 0:
        raise DeviceUnavailable("the NVIDIA driver finds no GPU")
    name, memory, major, minor = ctypes.create_string_buffer(256), ctypes.c_size_t(), ctypes.c_int(), ctypes.c_int()
    _call(driver, "cuDeviceGet", ctypes.byref(device), ctypes.c_int(0))
    _call(driver, "cuDeviceGetName", name, ctypes.c_int(len(name)), device)
    _call(driver, "cuDeviceTotalMem_v2", ctypes.byref(memory), device)
    _call(driver, "cuDeviceGetAttribute", ctypes.byref(major), ctypes.c_int(_MAJOR), device)
    _call(driver, "cuDeviceGetAttribute", ctypes.byref(minor), ctypes.c_int(_MINOR), device)
    _call(driver, "cuDriverGetVersion", ctypes.byref(version))
    return Gpu(
        name=name.value.decode(errors="replace"),
        architecture=f"sm_{major.value}{minor.value}",
        memory=memory.value,
        cuda=f"{version.value // 1000}.{version.value % 1000 // 10}",
    )


def _call(driver: ctypes.CDLL, function: str, *arguments: object) -> None:
    status = getattr(driver, function)(*arguments)
    if status:
        name = ctypes.c_char_p()
        driver.cuGetErrorName(status, ctypes.byref(name))
        reason = name.value.decode() if name.value else f"error {status}"
        raise DeviceUnavailable(f"the NVIDIA driver cannot be used ({function}: {reason})")
