"""Build an engine from an ONNX graph: on the GPU that is to run it or, with TensorRT for RTX, on any machine."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from cxr_edge.backends.base import MEBIBYTE
from cxr_edge.backends.tensorrt.library import Library
from cxr_edge.backends.tensorrt.parse import parsed
from cxr_edge.errors import DeviceUnavailable, EngineBuildFailed

#: Called with the name of a phase and the share of it that is done, 0 to 1.
Progress = Callable[[str, float], None]

Hardware = Literal["none", "ampere_plus"]

WORKSPACE = 1024 * MEBIBYTE


@dataclass(frozen=True)
class Profile:
    """Batch sizes: the smallest and largest that an engine takes, and the one that it is optimised for."""

    smallest: int = 1
    best: int = 6
    largest: int = 32

    def __post_init__(self) -> None:
        if not 1 <= self.smallest <= self.best <= self.largest <= 1024:
            raise ValueError(
                f"expected three batch sizes in rising order from 1 to 1024, such as 1,6,32, got {self.text}"
            )

    @property
    def text(self) -> str:
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
        The engine also runs in newer versions of TensorRT; it then contains code.
    hardware : str
        ``ampere_plus``: the engine also runs on other GPUs from sm_80 on, but more slowly.
    """

    architecture: str
    profile: Profile = Profile()
    version_compatible: bool = False
    hardware: Hardware = "none"


@dataclass(frozen=True)
class Built:
    """A serialised engine, and the times measured for it, for the next build's `timings`."""

    plan: bytes
    timings: bytes


def build_engine(
    library: Library, onnx: bytes, settings: Settings, progress: Progress | None = None, timings: bytes = b""
) -> Built:
    """Build an engine.

    Parameters
    ----------
    library : Library
    onnx : bytes
        The serialised graph; its precision is the engine's.
    settings : Settings
    progress : callable, optional
    timings : bytes
        Of earlier builds on this GPU. TensorRT for RTX takes none.

    Returns
    -------
    Built
        Two builds differ in their bytes.

    Raises
    ------
    ModelRefused, EngineBuildFailed
    DeviceUnavailable
        TensorRT for RTX does not build for the architecture.
    """
    if library.for_rtx and (settings.version_compatible or settings.hardware != "none"):
        raise EngineBuildFailed(
            "TensorRT for RTX builds neither version-compatible nor hardware-compatible engines; leave both options "
            "out, and build for each GPU by --target"
        )
    with parsed(library, onnx) as parsing:
        config = parsing.builder.create_builder_config()
        _configure(library, config, settings)
        config.add_optimization_profile(_profile(parsing, settings.profile))
        monitor = _monitor(library, progress or (lambda _phase, _done: None))
        config.progress_monitor = monitor
        if not library.for_rtx:  # the cache would need a GPU, and brings nothing
            config.set_timing_cache(_timing_cache(config, timings), ignore_mismatch=False)
        plan = parsing.builder.build_serialized_network(parsing.network, config)
        if monitor.raised is not None:
            raise monitor.raised
        if plan is None:
            raise EngineBuildFailed(
                f"{library.name} {library.version} could not build the engine: {library.last_error()}"
            )
        return Built(bytes(plan), b"" if library.for_rtx else bytes(config.get_timing_cache().serialize()))


def _configure(library: Library, config: Any, settings: Settings) -> None:
    trt = library.module
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, WORKSPACE)
    config.clear_flag(trt.BuilderFlag.TF32)  # float32 means float32
    if settings.version_compatible:
        config.set_flag(trt.BuilderFlag.VERSION_COMPATIBLE)
    if settings.hardware != "none":
        config.hardware_compatibility_level = getattr(trt.HardwareCompatibilityLevel, settings.hardware.upper())
    if library.for_rtx:
        known = {
            f"sm_{name[2:]}": value for name, value in trt.ComputeCapability.__members__.items() if name[:2] == "SM"
        }
        if settings.architecture not in known:
            listed = ", ".join(sorted(known, key=lambda name: int(name[3:])))
            raise DeviceUnavailable(
                f"tensorrt: {library.name} {library.version} builds for {listed}, not for {settings.architecture!r}; "
                "for other GPUs install the package tensorrt"
            )
        config.num_compute_capabilities = 1
        config.set_compute_capability(known[settings.architecture], 0)


def _profile(parsing: Any, profile: Profile) -> Any:
    made = parsing.builder.create_optimization_profile()
    for index in range(parsing.network.num_inputs):
        tensor = parsing.network.get_input(index)
        rest = list(tensor.shape)[1:]
        sizes = (profile.smallest, profile.best, profile.largest)
        made.set_shape(tensor.name, *([size, *rest] for size in sizes))
    return made


def _timing_cache(config: Any, timings: bytes) -> Any:
    """Read timings, or start an empty cache where they are of another version or GPU."""
    return config.create_timing_cache(timings) or config.create_timing_cache(b"")


def _monitor(library: Library, progress: Progress) -> Any:
    """Pass progress on. TensorRT swallows what a callback raises, such as Ctrl-C: keep it, and end the build."""
    interface = library.module.IProgressMonitor
    steps: dict[str, int] = {}

    class Monitor(interface):  # type: ignore[misc, valid-type]
        raised: BaseException | None = None

        def __init__(self) -> None:
            interface.__init__(self)

        def phase_start(self, phase: str, _parent: str | None, count: int) -> None:
            steps[phase] = max(count, 1)
            self._report(phase, 0.0)

        def step_complete(self, phase: str, step: int) -> bool:
            self._report(phase, min(1.0, (step + 1) / steps[phase]))
            return self.raised is None

        def phase_finish(self, phase: str) -> None:
            self._report(phase, 1.0)

        def _report(self, phase: str, done: float) -> None:
            try:
                progress(phase, done)
            except BaseException as error:
                self.raised = error

    return Monitor()
