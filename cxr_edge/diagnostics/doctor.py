"""Find out what this machine has, what works and what is missing: the content of ``cxr-edge doctor``."""

import importlib.metadata
import os
import platform
import sys
from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from cxr_edge._version import __version__
from cxr_edge.backends import AUTO
from cxr_edge.backends.base import Resources
from cxr_edge.backends.nvidia import find_gpu
from cxr_edge.backends.onnxruntime import PROVIDERS, load_runtime, missing_cuda_libraries, missing_tensorrt
from cxr_edge.backends.tensorrt.store import list_engines
from cxr_edge.errors import CxrEdgeError, DecoderUnavailable, DeviceUnavailable, how_to_get
from cxr_edge.images.dicom.decoders.launch import decoder_command
from cxr_edge.model.bundle import Bundle
from cxr_edge.model.model import Model
from cxr_edge.support.cache import cache_root
from cxr_edge.support.parallel import usable_cores

PACKAGES: Final = (
    "numpy", "isal", "kornia-rs", "simplejpeg",
    "opencv-python-headless", "opencv-python", "opencv-contrib-python", "opencv-contrib-python-headless",
    "imagecodecs", "pydicom",
    "onnxruntime", "onnxruntime-gpu", "openvino", "tensorrt", "tensorrt-rtx-cu13", "cuda-bindings",
)  # fmt: skip

#: Packages that the extra ``dicom`` installs.
DICOM_PACKAGES: Final = ("pydicom", "imagecodecs")

#: Packages that overwrite each other's files, with what should be installed instead.
CONFLICTS: Final = (
    (("onnxruntime", "onnxruntime-gpu"), "onnxruntime", "the extra gpu on a machine with an NVIDIA GPU, else cpu"),
    (
        (
            "opencv-python-headless",
            "opencv-python",
            "opencv-contrib-python",
            "opencv-contrib-python-headless",
        ),
        "opencv",
        "opencv-python-headless alone",
    ),
)


def examine(bundle: Bundle, devices: Sequence[str]) -> dict[str, Any]:
    """Examine the machine, and try the devices.

    Parameters
    ----------
    bundle : Bundle
        The model that is run on each device.
    devices : sequence of str
        The devices to try.

    Returns
    -------
    dict
        Ready for JSON: ``machine``, ``packages``, ``problems``, ``gpu``, ``cuda``, ``dicom``,
        ``devices``, ``bundle``, ``engines``.
    """
    installed, engines = packages(), _engines()
    tried = {device: try_device(bundle, device) for device in devices}
    return {
        "machine": machine(),
        "packages": installed,
        "problems": _problems(installed, engines, tried),
        "gpu": _gpu(),
        "cuda": _cuda(),
        "dicom": _dicom(installed),
        "devices": tried,
        "bundle": _bundle(bundle),
        "engines": engines,
    }


def try_device(bundle: Bundle, device: str) -> dict[str, Any]:
    """Open a bundle on a device and compute with it, maps included; return what works, or why it failed.

    ``tensorrt-ep`` compiles a model for minutes on its first run.
    """
    try:
        model = Model(bundle, device, None, Resources(threads=usable_cores()))
        noise = np.random.default_rng(0).integers(0, 256, (512, 512), dtype=np.uint8)
        model.predict(noise, heatmaps=True)
    except CxrEdgeError as error:
        return {"works": False, "precision": None, "why": str(error)}
    except Exception as error:  # a fault of one device's library must not cost the report
        return {"works": False, "precision": None, "why": f"{type(error).__name__}: {error}"}
    return {"works": True, "precision": model.precision, "why": model.device_reason if device == "auto" else ""}


def machine() -> dict[str, Any]:
    """Return the versions of Python and cxr-edge, and a description of the processor."""
    simd = np.show_config(mode="dicts").get("SIMD Extensions", {})
    return {
        "cxr_edge": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": platform.machine(),
        "cpu_features": [*simd.get("baseline", []), *simd.get("found", [])],
        "cores": os.cpu_count(),
        "usable_cores": usable_cores(),
    }


def packages() -> dict[str, str]:
    """Return the versions of the packages that take part in an inference."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def conflicts(packages: dict[str, str]) -> list[str]:
    """Return which packages overwrite each other's files, and what to install instead."""
    problems = []
    for names, what, remedy in CONFLICTS:
        installed = [name for name in names if name in packages]
        if len(installed) > 1:
            problems.append(
                f"{' and '.join(installed)} overwrite each other's files: uninstall them "
                f"(`{os.path.basename(sys.executable)} -m pip uninstall {' '.join(installed)}`), then install {remedy}"
            )
        if not installed and what == "onnxruntime":
            problems.append(
                f"ONNX Runtime is not installed; {how_to_get('cpu')}; with an NVIDIA GPU, gpu instead of cpu"
            )
    return problems


def _gpu() -> dict[str, Any]:
    try:
        return {"found": True, **find_gpu()._asdict()}
    except DeviceUnavailable as fault:
        return {"found": False, "why": str(fault)}


def _cuda() -> dict[str, Any]:
    """Return the devices that ONNX Runtime lists, and the libraries that its providers miss."""
    try:
        runtime = load_runtime()
    except DeviceUnavailable as error:
        return {"why": str(error)}
    listed = [name for name, provider in PROVIDERS.items() if provider in runtime.get_available_providers()]
    missing = [*missing_cuda_libraries(runtime), *missing_tensorrt()] if "cuda" in listed else None
    return {"onnxruntime": runtime.__version__, "listed": listed, "missing_libraries": missing}


def _dicom(installed: dict[str, str]) -> dict[str, Any]:
    """Return which packages for DICOM are missing, what starts a decoder of compressed pixels, and its limits."""
    missing = [name for name in DICOM_PACKAGES if name not in installed]
    limits = ["CPU time", "memory"] if sys.platform == "linux" else ["CPU time"]
    try:
        program, fault = decoder_command(None)[0], None
    except DecoderUnavailable as error:
        program, fault = None, str(error)
    return {"missing_packages": missing, "decoder_limits": limits, "decoder": program, "decoder_fault": fault}


def _bundle(bundle: Bundle) -> dict[str, Any]:
    variants = bundle.manifest.variants
    return {
        "identity": bundle.identity,
        "sha256": bundle.sha256,
        "default_variant": bundle.manifest.default_variant,
        "variants": len(bundle.manifest.tta.variants),
        "gates": {name: variant.gate for name, variant in variants.items()},
    }


def _engines() -> dict[str, Any]:
    root = None
    try:
        root = cache_root()
        stored = list_engines() if root.is_dir() else []
    except CxrEdgeError as error:
        return {"folder": str(root or "none"), "fault": str(error), "found": []}
    return {"folder": str(root), "fault": None, "found": [engine.to_dict() for engine in stored]}


def _problems(packages: dict[str, str], engines: dict[str, Any], devices: dict[str, Any]) -> list[str]:
    works = any(device["works"] for device in devices.values())
    return [
        *([] if works else ["no device that was tried works: see Devices"]),
        *conflicts(packages),
        *([engines["fault"]] if engines["fault"] else []),
        *(f"{engine['file']} must not be run: {engine['fault']}" for engine in engines["found"] if engine["fault"]),
    ]


#: Devices to try unless one is named; those left out would compile for minutes.
TRIED: Final = ("auto", *AUTO)
