"""``cxr-edge engine``: check, build and list TensorRT engines."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from cxr_edge.backends.nvidia import find_gpu
from cxr_edge.backends.tensorrt.build import Hardware, Profile, Progress, Settings
from cxr_edge.backends.tensorrt.library import Library, load_library
from cxr_edge.backends.tensorrt.parse import refusals
from cxr_edge.backends.tensorrt.store import Stored, build_stored, list_engines
from cxr_edge.cli.shared import INTERRUPTED, NO_MODEL_OR_DEVICE, SOME_FAILED, BundleOption, JsonOption, fail, given
from cxr_edge.errors import CxrEdgeError, DeviceUnavailable, ModelRefused
from cxr_edge.model.bundle import Bundle, read_bundle

engine_app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Check, build and list TensorRT engines.",
)


class Precision(str, Enum):
    """Bundle variants that engines can be built from."""

    fp16 = "fp16"
    fp32 = "fp32"


class Package(str, Enum):
    """NVIDIA's packages that parse models and build engines."""

    tensorrt = "tensorrt"
    rtx = "rtx"


PrecisionOption = Annotated[Precision, typer.Option(help="Variant of the bundle.")]
PackageOption = Annotated[
    Package | None,
    typer.Option(
        "--package",
        show_default="tensorrt where it is installed, else rtx",
        help="Package to parse and build with.",
    ),
]


@engine_app.command()
def check(
    context: typer.Context,
    graphs: Annotated[
        list[Path] | None,
        typer.Argument(metavar="ONNX", help="ONNX files.", exists=True, dir_okay=False, show_default="a bundle's"),
    ] = None,
    bundle: BundleOption = None,
    precision: PrecisionOption = Precision.fp16,
    package: PackageOption = None,
    json_output: JsonOption = False,
) -> None:
    """Check whether NVIDIA's parser accepts the whole model.

    Names every node that it refuses. With TensorRT for RTX (extra rtx), this needs no GPU. Exit status: 0 all nodes are
    accepted; 1 some are refused; 3 the bundle or the package is unavailable.
    """
    for option in ("bundle", "precision"):
        if graphs and given(context, option):
            raise typer.BadParameter("it selects a bundle's graphs: leave out this, or ONNX", param_hint=f"--{option}")
    with _errors_printed():
        library = _library(package)
        named = {str(p): p.read_bytes() for p in graphs} if graphs else _graphs(read_bundle(bundle), precision)
        refused = {name: refusals(library, data) for name, data in named.items()}
    if json_output:
        nodes = {name: [msgspec.to_builtins(r) for r in found] for name, found in refused.items()}
        typer.echo(json.dumps({"library": library.name, "version": library.version, "refused": nodes}))
    else:
        for name, found in refused.items():
            number = "1 node" if len(found) == 1 else f"{len(found)} nodes"
            typer.echo(f"{name}: {f'{number} refused' if found else 'all nodes accepted'}")
            for refusal in found:
                typer.echo(f"  {refusal}")
        typer.echo(f"by the parser of {library.name} {library.version}", err=True)
    raise typer.Exit(SOME_FAILED if any(refused.values()) else 0)


@engine_app.command()
def build(
    bundle: BundleOption = None,
    precision: PrecisionOption = Precision.fp16,
    batch: Annotated[
        str,
        typer.Option(metavar="MIN,BEST,MAX", help="Batch sizes: smallest, optimised for, largest."),
    ] = "1,6,32",
    target: Annotated[
        str | None,
        typer.Option(metavar="sm_NN", help="GPU architecture to build for.", show_default="this machine's GPU"),
    ] = None,
    package: PackageOption = None,
    version_compatible: Annotated[
        bool, typer.Option("--version-compatible", help="Make engines that newer TensorRT versions run too; slower.")
    ] = False,
    hardware_compatible: Annotated[
        bool, typer.Option("--hardware-compatible", help="Make engines for every GPU from Ampere (sm_80) on; slower.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Build engines again that the cache already has.")] = False,
    json_output: JsonOption = False,
) -> None:
    """Build the engines of a bundle's two graphs into the cache.

    Each user has a cache of their own. With the package tensorrt, build on the GPU that will run the engines; with
    TensorRT for RTX (extra rtx), build on any machine, for RTX GPUs. Engines that the cache already has are not built
    again.

    Exit status: 0 built, or in the cache already; 1 NVIDIA's parser refuses the model; 2 usage; 3 the bundle, the
    package or the GPU is unavailable, or a build failed.

    For example:

      cxr-edge engine build

      cxr-edge engine build --target sm_86 --precision fp16 --batch 1,6,32
    """
    profile = _profile(batch)
    if target is not None and not re.fullmatch(r"sm_\d{2,3}", target):
        raise typer.BadParameter(f"expected an architecture such as sm_86, got {target!r}", param_hint="--target")
    hardware: Hardware = "ampere_plus" if hardware_compatible else "none"
    with _errors_printed():
        library = _library(package)
        settings = Settings(_target(library, target), profile, version_compatible, hardware)
        opened = read_bundle(bundle)
        _require_variants(profile, len(opened.manifest.tta.variants))
        stored = {}
        for name, data in _graphs(opened, precision).items():
            with _progress(f"{name} for {settings.architecture}") as progress:
                stored[name] = build_stored(library, name, data, precision.value, settings, progress, force=force)
    if json_output:
        built = {
            name: {"file": str(file), "fresh": fresh, **msgspec.to_builtins(description)}
            for name, (file, description, fresh) in stored.items()
        }
        typer.echo(json.dumps(built))
        return
    for name, (file, description, fresh) in stored.items():
        made = f"built in {description.seconds:.1f} s" if fresh else "in the cache already"
        typer.echo(f"{name}: {made}, {description.bytes / 1e6:.1f} MB, {file}")


@engine_app.command(name="list")
def list_cache(json_output: JsonOption = False) -> None:
    """List the engines in the cache.

    States what is wrong with engines that must not be run. Exit status: 0; 3 the cache cannot be used.
    """
    with _errors_printed():
        stored = list_engines()
    if json_output:
        typer.echo(json.dumps([engine.to_dict() for engine in stored]))
        return
    for engine in stored:
        typer.echo(f"{engine.file.name}: {_line(engine)}")
    if not stored:
        typer.echo("The cache contains no engine; `cxr-edge engine build` makes one.", err=True)


def _line(engine: Stored) -> str:
    if engine.description is None or engine.fault:
        return f"must not be run: {engine.fault}"
    identity = engine.description.identity
    compatible = [
        *(["version-compatible"] if identity.version_compatible else []),
        *(["hardware-compatible"] if identity.hardware != "none" else []),
    ]
    return ", ".join(
        [
            f"{engine.description.graph} for {identity.architecture}",
            f"batches {identity.profile}",
            f"{identity.library} {identity.version}",
            *compatible,
            f"{engine.description.bytes / 1e6:.1f} MB",
            f"built {engine.description.built}",
        ]
    )


@contextmanager
def _errors_printed() -> Iterator[None]:
    try:
        yield
    except CxrEdgeError as error:
        fail(error, SOME_FAILED if isinstance(error, ModelRefused) else NO_MODEL_OR_DEVICE)
    except KeyboardInterrupt:
        typer.echo("Interrupted; no partly built engine is left.", err=True)
        raise typer.Exit(INTERRUPTED) from None


def _library(package: Package | None) -> Library:
    if package is None:
        return load_library()
    return load_library("tensorrt_rtx" if package is Package.rtx else "tensorrt")


def _graphs(bundle: Bundle, precision: Precision) -> dict[str, bytes]:
    return {name: bundle.files[name] for name in bundle.manifest.graph_files(precision.value)}


def _profile(batch: str) -> Profile:
    try:
        smallest, best, largest = (int(size) for size in batch.split(","))
        return Profile(smallest, best, largest)
    except ValueError as error:
        raise typer.BadParameter(
            f"expected three sizes in rising order, MIN,BEST,MAX from 1 to 1024, such as 1,6,32, got {batch!r}",
            param_hint="--batch",
        ) from error


def _require_variants(profile: Profile, variants: int) -> None:
    if profile.smallest > 1 or profile.largest < variants:
        raise typer.BadParameter(
            f"calls hold 1 to {variants} TTA variants: expected MIN 1 and MAX of at least {variants}, got "
            f"{profile.text}",
            param_hint="--batch",
        )


def _target(library: Library, target: str | None) -> str:
    """Return the architecture to build for. TensorRT measures on the GPU itself, so the GPU must be present."""
    if target is not None and library.for_rtx:
        return target
    try:
        found = find_gpu().architecture
    except DeviceUnavailable as error:
        remedy = "name one by --target" if library.for_rtx else "build there, or with TensorRT for RTX (extra rtx)"
        raise DeviceUnavailable(
            f"tensorrt: {library.name} builds for the GPU of this machine, and {error}; {remedy}"
        ) from error
    if target not in (None, found):
        raise DeviceUnavailable(
            f"tensorrt: {library.name} builds only for the GPU of this machine, {found}, not for {target}; build "
            "there, or with TensorRT for RTX (extra rtx)"
        )
    return found


@contextmanager
def _progress(title: str) -> Iterator[Progress]:
    from cxr_edge.cli.terminal import phases

    with phases(title) as show:
        yield show
