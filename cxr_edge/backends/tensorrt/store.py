"""Engines on disk, each beside a file that describes it.

An engine contains native code. Only engines that this user built are run: folder and files must not be
writable by others, and before an engine is loaded it is checked against the hash and the identity in its
description. (Windows protects the user's folders; there only hash and identity are checked.)
"""

import hashlib
import platform
import time
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
from filelock import FileLock
from msgspec import Meta

from cxr_edge._version import __version__
from cxr_edge.backends.tensorrt.build import Progress, Settings, build_engine
from cxr_edge.backends.tensorrt.library import Library
from cxr_edge.errors import CacheUnusable, EngineBuildFailed
from cxr_edge.support.cache import VARIABLE, cache_folder, require_private
from cxr_edge.support.files import store

FOLDER: Final = "engines"

Sha256 = Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]


class Identity(msgspec.Struct, frozen=True):
    """Everything that an engine's results depend on: two engines with the same identity compute the same.

    Attributes
    ----------
    model_sha256 : str
        Hash of the ONNX file.
    library, version : str
        Which TensorRT built it.
    architecture : str
        Architecture of the GPU that the engine was built for.
    precision : str
        Name of the variant in the bundle.
    profile : str
        Batch sizes: smallest, best, largest.
    version_compatible : bool
    hardware : str
        See `cxr_edge.backends.tensorrt.build.Settings`.
    platform : str
        Operating system and processor.
    """

    model_sha256: Sha256
    library: str
    version: str
    architecture: str
    precision: str
    profile: Annotated[str, Meta(pattern=r"^\d{1,4},\d{1,4},\d{1,4}$")]
    version_compatible: bool
    hardware: str
    platform: str

    @property
    def key(self) -> str:
        """Hash of the whole identity."""
        return hashlib.sha256(msgspec.json.encode(self, order="sorted")).hexdigest()


class Description(msgspec.Struct, frozen=True):
    """The JSON file beside an engine; `graph` is the ONNX file's name in its bundle."""

    graph: str
    identity: Identity
    engine_sha256: Sha256
    bytes: Annotated[int, Meta(ge=1)]
    seconds: float
    built: str
    cxr_edge: str


@dataclass(frozen=True)
class Stored:
    """An engine in the cache.

    Attributes
    ----------
    file : Path
    description : Description or None
        None where the description cannot be read.
    plan : bytes
        The verified engine; empty where there is a fault.
    fault : str
        Why the engine must not be run; empty where it may be.
    """

    file: Path
    description: Description | None
    plan: bytes
    fault: str

    def to_dict(self) -> dict[str, Any]:
        """Return file, fault and description, ready for JSON."""
        described = msgspec.to_builtins(self.description) if self.description else {}
        return {"file": str(self.file), "fault": self.fault or None, **described}


def identify(library: Library, onnx: bytes, precision: str, settings: Settings) -> Identity:
    """Return the identity that an engine will have."""
    return Identity(
        model_sha256=hashlib.sha256(onnx).hexdigest(),
        library=library.name,
        version=library.version,
        architecture=settings.architecture,
        precision=precision,
        profile=settings.profile.text,
        version_compatible=settings.version_compatible,
        hardware=settings.hardware,
        platform=this_platform(),
    )


def build_stored(
    library: Library,
    graph: str,
    onnx: bytes,
    precision: str,
    settings: Settings,
    progress: Progress | None = None,
    *,
    force: bool = False,
) -> tuple[Path, Description, bool]:
    """Build an engine into the cache, unless an intact one of this identity is there.

    Of several processes that need the same engine, one builds it and the others wait.

    Parameters
    ----------
    library : Library
    graph : str
        Name of the ONNX file.
    onnx : bytes
        Its content.
    precision : str
        Name of the variant `onnx` is of.
    settings : Settings
    progress : callable, optional
    force : bool
        Build the engine even if it is there.

    Returns
    -------
    Path
    Description
    bool
        Whether the engine was built just now.

    Raises
    ------
    ModelRefused, EngineBuildFailed, DeviceUnavailable, CacheUnusable
    """
    identity = identify(library, onnx, precision, settings)
    folder = cache_folder(FOLDER)
    file = folder / f"{identity.model_sha256[:12]}-{settings.architecture}-{identity.key[:16]}.engine"
    try:
        with FileLock(f"{file}.lock", mode=0o600):
            found = read_stored(file)
            if not force and not found.fault and found.description and found.description.identity == identity:
                return file, found.description, False
            start = time.monotonic()
            timings = folder / f"{library.name}-{library.version}-{settings.architecture}.timings"
            built = build_engine(library, onnx, settings, progress, _private_bytes(timings))
            described = Description(
                graph=graph,
                identity=identity,
                engine_sha256=hashlib.sha256(built.plan).hexdigest(),
                bytes=len(built.plan),
                seconds=round(time.monotonic() - start, 2),
                built=datetime.now(timezone.utc).isoformat(timespec="seconds"),
                cxr_edge=__version__,
            )
            # A reader between the two writes finds an engine that does not match its description, and refuses it.
            store(file.parent, file.name, built.plan)
            beside = _description_of(file)
            store(beside.parent, beside.name, msgspec.json.format(msgspec.json.encode(described), indent=2))
            if built.timings:
                store(timings.parent, timings.name, built.timings)
    except OSError as error:
        raise EngineBuildFailed(
            f"{file} cannot be written ({error.strerror}); make room or give this user permission, or name another "
            f"folder by the environment variable {VARIABLE}"
        ) from error
    return file, described, True


def list_engines(model_sha256: str = "") -> list[Stored]:
    """Read the stored engines of a model, or of all models, including those with a fault.

    Raises
    ------
    CacheUnusable
    """
    return [read_stored(file) for file in sorted(cache_folder(FOLDER).glob(f"{model_sha256[:12]}*.engine"))]


def read_stored(file: Path) -> Stored:
    """Read an engine and check it against its description."""
    try:
        require_private(file)
        require_private(_description_of(file))
        described = msgspec.json.decode(_description_of(file).read_bytes(), type=Description)
        plan = file.read_bytes()
    except CacheUnusable as error:
        return Stored(file, None, b"", str(error))
    except msgspec.MsgspecError as error:
        return Stored(
            file, None, b"", f"has a description that is damaged, or of another version of cxr-edge ({error})"
        )
    except OSError as error:
        return Stored(file, None, b"", f"{error.filename or file} cannot be read ({error.strerror})")
    if len(plan) != described.bytes or hashlib.sha256(plan).hexdigest() != described.engine_sha256:
        return Stored(file, described, b"", "is damaged, or not the engine that was built")
    return Stored(file, described, plan, "")


def this_platform() -> str:
    """Return operating system and processor."""
    return f"{platform.system()}-{platform.machine()}"


def _description_of(file: Path) -> Path:
    return file.with_suffix(".json")


def _private_bytes(file: Path) -> bytes:
    """Read a file that only this user can write; empty where there is none."""
    if not file.is_file():
        return b""
    require_private(file)
    return file.read_bytes()
