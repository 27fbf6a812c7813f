"""Building an engine from an ONNX graph, on the GPU that is to run it or, with TensorRT for RTX, anywhere."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from cxr_edge.backends.base import MEBIBYTE
from cxr_edge.engine.library import Library
from cxr_edge.engine.parse import parsed
from cxr_edge.errors import DeviceUnavailable, EngineBuildFailed

#: Called with the name of a phase and its share that is done, 0 to 1.
Progress = Callable[[str, float], None]

Hardware = Literal["none", "ampere_plus", "same_compute_capability"]

WORKSPACE = 1024 * MEBIBYTE


@dataclass(frozen=True)
class Profile:
    """Batch sizes: the smallest and largest an engine takes, and the one it is made fastest for."""

    smallest: int = 1
    best: int = 6
    largest: int = 32

    def __post_init__(self) -> None:
        if not 1 <= self.smallest <= self.best <= self.largest <= 1024:
            raise ValueError(
                f"expected three batch sizes in rising order from 1 to 1024, such as 1,6,32, got {self.told}"
            )

    @property
    def told(self) -> str:
        """The sizes as the command line takes them."""
        return f"{self.smallest},{self.best},{self.largest}"


@dataclass(frozen=True)
class Settings:
    """How an engine is built.

    Attributes
    ----------
    architecture : str
        Of the GPU, such as ``sm_86``.
    profile : Profile
    version_compatible : bool
        It also runs in newer versions of TensorRT; such an engine carries code.
    hardware : str
        ``ampere_plus`` or ``same_compute_capability``: it also runs on other GPUs, more slowly.
    """

    architecture: str
    profile: Profile = Profile()
    version_compatible: bool = False
    hardware: Hardware = "none"


def build_engine(
    library: Library,
    onnx: bytes,
    settings: Settings,
    timing_cache: Path | None = None,
    progress: Progress | None = None,
) -> bytes:
    """Build an engine.

    Parameters
    ----------
    library : Library
    onnx : bytes
        The serialised graph; its precision is the engine's.
    settings : Settings
    timing_cache : Path, optional
        Where measured times are kept between builds. TensorRT for RTX has none.
    progress : callable, optional

    Returns
    -------
    bytes
        The engine. Two builds are not alike byte for byte.

    Raises
    ------
    ModelRefused, EngineBuildFailed
    DeviceUnavailable
        TensorRT for RTX does not know the architecture.
    """
    if library.for_rtx and settings.version_compatible:
        raise EngineBuildFailed(
            "TensorRT for RTX has no version-compatible engines (they need the lean runtime of TensorRT); leave "
            "--version-compatible out, and build again after an update"
        )
    with parsed(library, onnx) as parsing:
        config = parsing.builder.create_builder_config()
        _configure(library, config, settings)
        config.add_optimization_profile(_profile(parsing, settings.profile))
        if progress:
            config.progress_monitor = _monitor(library, progress)
        cache = _timing_cache(config, timing_cache)
        plan = parsing.builder.build_serialized_network(parsing.network, config)
        if plan is None:
            raise EngineBuildFailed(
                f"{library.name} {library.version} could not build the engine: {library.last_error()}"
            )
        if cache is not None and timing_cache:
            timing_cache.write_bytes(bytes(cache.serialize()))
        return bytes(plan)


def _configure(library: Library, config: Any, settings: Settings) -> None:
    trt = library.module
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, WORKSPACE)
    config.clear_flag(trt.BuilderFlag.TF32)  # float32 means float32
    if settings.version_compatible:
        config.set_flag(trt.BuilderFlag.VERSION_COMPATIBLE)
    if settings.hardware != "none":
        config.hardware_compatibility_level = getattr(trt.HardwareCompatibilityLevel, settings.hardware.upper())
    if library.for_rtx:
        target = getattr(trt.ComputeCapability, settings.architecture.replace("_", "").upper(), None)
        if target is None:
            known = [f"sm_{name[2:]}" for name in dir(trt.ComputeCapability) if name.startswith("SM")]
            raise DeviceUnavailable(
                f"tensorrt: {library.name} {library.version} builds for {', '.join(known)}, not for "
                f"{settings.architecture}; use the package tensorrt on such a GPU"
            )
        config.num_compute_capabilities = 1
        config.set_compute_capability(target, 0)


def _profile(parsing: Any, profile: Profile) -> Any:
    made = parsing.builder.create_optimization_profile()
    for index in range(parsing.network.num_inputs):
        tensor = parsing.network.get_input(index)
        rest = list(tensor.shape)[1:]
        sizes = (profile.smallest, profile.best, profile.largest)
        made.set_shape(tensor.name, *([size, *rest] for size in sizes))
    return made


def _timing_cache(config: Any, file: Path | None) -> Any:
    if file is None:
        return None
    cache = config.create_timing_cache(file.read_bytes() if file.is_file() else b"")
    config.set_timing_cache(cache, ignore_mismatch=False)
    return config.get_timing_cache()


def _monitor(library: Library, progress: Progress) -> Any:
    interface = library.module.IProgressMonitor
    steps: dict[str, int] = {}

    class Monitor(interface):  # type: ignore[misc, valid-type]
        def __init__(self) -> None:
            interface.__init__(self)

        def phase_start(self, phase: str, _parent: str | None, count: int) -> None:
            steps[phase] = max(count, 1)
            progress(phase, 0.0)

        def step_complete(self, phase: str, step: int) -> bool:
            progress(phase, min(1.0, (step + 1) / steps[phase]))
            return True

        def phase_finish(self, phase: str) -> None:
            progress(phase, 1.0)

    return Monitor()
