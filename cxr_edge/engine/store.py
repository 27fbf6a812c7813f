"""Engines on disk: each beside a description that says what it is of, by which it is found, and refused.

An engine holds native code. Only what this user built is run: the folder must be writable by no one
else, and every engine is held against the hash and the identity in its description before it is loaded.
"""

import hashlib
import os
import platform
import tempfile
import time
from datetime import datetime, timezone
from pathlib import Path
from typing import Annotated, Final

import msgspec
from filelock import FileLock
from msgspec import Meta

from cxr_edge._version import __version__
from cxr_edge.backends.nvidia import find_gpu
from cxr_edge.cache import cache_folder, require_private
from cxr_edge.engine.build import Progress, Settings, build_engine
from cxr_edge.engine.library import Library, load_library, require_installed
from cxr_edge.errors import CacheUnusable, DeviceUnavailable, EngineBuildFailed

FOLDER: Final = "engines"
REMEDY: Final = "run `cxr-edge engine build`"

Sha256 = Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]


class Identity(msgspec.Struct, frozen=True):
    """What an engine is of: two engines with the same identity answer alike.

    Attributes
    ----------
    model_sha256 : str
        Of the ONNX file.
    library, version : str
        Which TensorRT built it.
    architecture : str
        Of the GPU it was built for.
    precision : str
        Name of the bundle's variant.
    profile : str
        Batch sizes.
    version_compatible : bool
    hardware : str
        See `cxr_edge.engine.build.Settings`.
    platform : str
        Operating system and processor.
    """

    model_sha256: Sha256
    library: str
    version: str
    architecture: str
    precision: str
    profile: str
    version_compatible: bool
    hardware: str
    platform: str

    @property
    def key(self) -> str:
        """Hash of all of it."""
        return hashlib.sha256(msgspec.json.encode(self, order="sorted")).hexdigest()


class Description(msgspec.Struct, frozen=True):
    """The JSON file beside an engine."""

    identity: Identity
    engine_sha256: Sha256
    bytes: Annotated[int, Meta(ge=1)]
    seconds: float
    built: str
    cxr_edge: str


class Stored(msgspec.Struct, frozen=True):
    """An engine in the cache.

    Attributes
    ----------
    file : Path
    description : Description
    fresh : bool
        Built just now, not found.
    """

    file: Path
    description: Description
    fresh: bool


def identify(library: Library, onnx: bytes, precision: str, settings: Settings) -> Identity:
    """Tell the identity an engine will have."""
    return Identity(
        model_sha256=hashlib.sha256(onnx).hexdigest(),
        library=library.name,
        version=library.version,
        architecture=settings.architecture,
        precision=precision,
        profile=settings.profile.told,
        version_compatible=settings.version_compatible,
        hardware=settings.hardware,
        platform=_platform(),
    )


def build_stored(
    library: Library,
    onnx: bytes,
    precision: str,
    settings: Settings,
    progress: Progress | None = None,
    *,
    force: bool = False,
) -> Stored:
    """Build an engine into the cache, unless a whole one of this identity is there.

    Of several processes that want the same engine, one builds and the others wait for it.

    Parameters
    ----------
    library : Library
    onnx : bytes
    precision : str
        Name of the variant `onnx` is of.
    settings : Settings
    progress : callable, optional
    force : bool
        Build it again.

    Raises
    ------
    ModelRefused, EngineBuildFailed, DeviceUnavailable, CacheUnusable
    """
    identity = identify(library, onnx, precision, settings)
    file = cache_folder(FOLDER) / f"{identity.model_sha256[:12]}-{settings.architecture}-{identity.key[:16]}.engine"
    try:
        with FileLock(f"{file}.lock", mode=0o600):
            found = None if force else _whole(file)
            if found and found.identity == identity:
                return Stored(file, found, fresh=False)
            start = time.monotonic()
            # TensorRT for RTX looks for a GPU when it is given one, and gains nothing by it.
            timing = None if library.for_rtx else file.parent / f"{library.version}-{settings.architecture}.timing"
            plan = build_engine(library, onnx, settings, timing, progress)
            described = Description(
                identity=identity,
                engine_sha256=hashlib.sha256(plan).hexdigest(),
                bytes=len(plan),
                seconds=round(time.monotonic() - start, 2),
                built=datetime.now(timezone.utc).isoformat(timespec="seconds"),
                cxr_edge=__version__,
            )
            _description_of(file).unlink(missing_ok=True)  # it must never describe another engine
            _write(file, plan)
            _write(_description_of(file), msgspec.json.format(msgspec.json.encode(described), indent=2))
    except OSError as error:
        raise EngineBuildFailed(
            f"{file} cannot be written ({error.strerror}); make room or give this user permission, or name another "
            "folder by the environment variable CXR_EDGE_CACHE"
        ) from error
    return Stored(file, described, fresh=True)


def list_engines() -> list[Stored]:
    """List what the cache holds with a readable description."""
    folder = cache_folder(FOLDER)
    described = ((file, _described(file)) for file in sorted(folder.glob("*.engine")))
    return [Stored(file, found, fresh=False) for file, found in described if found]


def load_engine(onnx: bytes, precision: str) -> tuple[Library, bytes, Identity]:
    """Find the engine of a graph for the GPU of this machine.

    Parameters
    ----------
    onnx : bytes
        The serialised graph.
    precision : str

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
        There is no GPU, no TensorRT, or no engine that fits; the message tells which.
    """
    library, gpu = _library_and_gpu()
    wanted = hashlib.sha256(onnx).hexdigest()
    try:
        stored = [engine for engine in list_engines() if engine.description.identity.model_sha256 == wanted]
    except CacheUnusable as error:
        raise DeviceUnavailable(f"tensorrt: {error}") from error
    misfits = []
    for engine in stored:
        identity = engine.description.identity
        if misfit := _misfit(identity, library, gpu, precision):
            misfits.append(f"{engine.file.name} {misfit}")
        elif _whole(engine.file) is None:
            misfits.append(f"{engine.file.name} is damaged, or not the engine that was built")
        else:
            return library, engine.file.read_bytes(), identity
    why = f" ({'; '.join(misfits)})" if misfits else ""
    raise DeviceUnavailable(
        f"tensorrt: no engine of this model in {precision} for {gpu} and {library.name} {library.version}{why}; "
        f"{REMEDY}"
    )


def _library_and_gpu() -> tuple[Library, str]:
    """Find a GPU and TensorRT, or tell all that is missing at once.

    Without a GPU the package is only looked for: importing it takes long.
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


def _misfit(identity: Identity, library: Library, architecture: str, precision: str) -> str:
    """Tell why an engine must not be run here; empty where it may."""
    if identity.precision != precision:
        return f"is of {identity.precision}"
    if identity.platform != _platform():
        return f"was built on {identity.platform}"
    if identity.library != library.name or not _version_fits(identity, library.version):
        return f"was built by {identity.library} {identity.version}"
    ampere_plus = (
        identity.hardware == "ampere_plus" and min(_number(identity.architecture), _number(architecture)) >= 80
    )
    if identity.architecture != architecture and not ampere_plus:
        return f"was built for {identity.architecture}"
    return ""


def _version_fits(identity: Identity, version: str) -> bool:
    if identity.version == version:
        return True
    built, here = (tuple(int(part) for part in text.split(".")[:3]) for text in (identity.version, version))
    return identity.version_compatible and built <= here


def _number(architecture: str) -> int:
    digits = architecture.removeprefix("sm_")
    return int(digits) if digits.isdigit() else 0


def _platform() -> str:
    return f"{platform.system()}-{platform.machine()}"


def _description_of(file: Path) -> Path:
    return file.with_suffix(".json")


def _described(file: Path) -> Description | None:
    try:
        return msgspec.json.decode(_description_of(file).read_bytes(), type=Description)
    except (FileNotFoundError, msgspec.MsgspecError):
        return None


def _whole(file: Path) -> Description | None:
    """Give the description of an engine that is the one described, and that only this user can write."""
    described = _described(file)
    if described is None or not file.is_file():
        return None
    for part in (file, _description_of(file)):
        require_private(part)
    data = file.read_bytes()
    fits = len(data) == described.bytes and hashlib.sha256(data).hexdigest() == described.engine_sha256
    return described if fits else None


def _write(path: Path, data: bytes) -> None:
    """Write a file for this user alone, whole or not at all."""
    handle, part = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")  # made with mode 0600
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except BaseException:
        Path(part).unlink(missing_ok=True)
        raise
