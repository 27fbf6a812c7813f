"""Choose the stored engine that runs a graph on this machine, or state why none does."""

import hashlib
from typing import Final

from cxr_edge.backends.nvidia import find_gpu
from cxr_edge.backends.tensorrt.library import Library, load_library, require_installed
from cxr_edge.backends.tensorrt.store import Identity, list_engines, this_platform
from cxr_edge.errors import CacheUnusable, DeviceUnavailable

REMEDY: Final = "run `cxr-edge engine build`"


def load_engine(onnx: bytes, precision: str, batch: int) -> tuple[Library, bytes, Identity]:
    """Find the engine of a graph for the GPU of this machine.

    Of several that fit, one built for this very GPU comes first, then the one built last.

    Parameters
    ----------
    onnx : bytes
        The serialised graph.
    precision : str
    batch : int
        The engine must take from 1 to this many inputs at a time.

    Returns
    -------
    Library
        The TensorRT to run it with.
    bytes
        The engine, as verified.
    Identity

    Raises
    ------
    DeviceUnavailable
        The GPU, TensorRT or an engine that fits is missing; the message states which.
    """
    library, gpu = _library_and_gpu()
    wanted = hashlib.sha256(onnx).hexdigest()
    try:
        stored = list_engines(wanted)
    except CacheUnusable as error:
        raise DeviceUnavailable(f"tensorrt: {error}") from error
    fitting, misfits = [], []
    for engine in stored:
        if engine.fault or engine.description is None:
            misfits.append(f"{engine.file.name} {engine.fault}")
        elif misfit := _misfit(engine.description.identity, wanted, library, gpu, precision, batch):
            misfits.append(f"{engine.file.name} {misfit}")
        else:
            fitting.append((engine.description, engine.plan))
    if not fitting:
        why = f" ({'; '.join(misfits)})" if misfits else ""
        raise DeviceUnavailable(
            f"tensorrt: no engine of this model in {precision} for {gpu} and {library.name} {library.version}{why}; "
            f"{REMEDY}"
        )
    described, plan = max(fitting, key=lambda found: (found[0].identity.architecture == gpu, found[0].built))
    return library, plan, described.identity


def _library_and_gpu() -> tuple[Library, str]:
    """Find a GPU and TensorRT, or report everything that is missing at once.

    Without a GPU the package is only searched for: to import it takes long.
    """
    try:
        gpu = find_gpu().architecture
    except DeviceUnavailable as fault:
        try:
            require_installed()
        except DeviceUnavailable as missing:
            raise DeviceUnavailable(f"tensorrt: {fault}; {str(missing).removeprefix('tensorrt: ')}") from fault
        raise DeviceUnavailable(f"tensorrt: {fault}; install NVIDIA's driver, and check `nvidia-smi`") from fault
    return load_library(), gpu


def _misfit(
    identity: Identity, model_sha256: str, library: Library, architecture: str, precision: str, batch: int
) -> str:
    """Return why an engine must not be run here; empty where it may be."""
    if identity.model_sha256 != model_sha256:
        return "is of another model"
    if identity.precision != precision:
        return f"is of {identity.precision}"
    if identity.platform != this_platform():
        return f"was built on {identity.platform}"
    if identity.library != library.name or not _version_fits(identity, library.version):
        return f"was built by {identity.library} {identity.version}"
    ampere_plus = (
        identity.hardware == "ampere_plus" and min(_number(identity.architecture), _number(architecture)) >= 80
    )
    if identity.architecture != architecture and not ampere_plus:
        return f"was built for {identity.architecture}"
    smallest, _, largest = (int(size) for size in identity.profile.split(","))
    if smallest > 1 or largest < batch:
        return f"takes batches of {smallest} to {largest}, not of 1 to {batch}"
    return ""


def _version_fits(identity: Identity, version: str) -> bool:
    if identity.version == version:
        return True
    built, here = (tuple(int(part) for part in text.split(".")[:3]) for text in (identity.version, version))
    return identity.version_compatible and built <= here


def _number(architecture: str) -> int:
    digits = architecture.removeprefix("sm_")
    return int(digits) if digits.isdigit() else 0
