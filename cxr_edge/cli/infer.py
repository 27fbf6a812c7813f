"""``cxr-edge infer``: find out what chest radiographs show."""

import os
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Final, NoReturn

import cv2
import msgspec
import typer

from cxr_edge.backends import DEVICE_NAMES, DEVICES, Resources
from cxr_edge.backends.base import MEBIBYTE
from cxr_edge.cli.shared import (
    INTERRUPTED,
    NO_MODEL_OR_DEVICE,
    SOME_FAILED,
    USAGE,
    BundleOption,
    devices,
    directory,
    fail,
    given,
    operating_points,
)
from cxr_edge.cli.streams import closed
from cxr_edge.errors import (
    CxrEdgeError,
    HeatmapUnavailable,
    NotFound,
    OutputError,
    OutputUnwritable,
    UnknownOperatingPoint,
    UnknownPrecision,
    how_to_get,
)
from cxr_edge.images.limits import LIMIT_NAMES, InputLimits
from cxr_edge.model.heatmaps import COLORMAPS
from cxr_edge.model.model import Model, failure_of, load
from cxr_edge.model.provenance import Provenance
from cxr_edge.model.record import Record, encode_record
from cxr_edge.model.results import NOTICE
from cxr_edge.outputs.analysis import Analyser
from cxr_edge.outputs.base import Output
from cxr_edge.outputs.drawing import OverlayFormat
from cxr_edge.outputs.html.picture import ReportPictures
from cxr_edge.outputs.overlays import OverlayFiles
from cxr_edge.runs.batch import infer as infer_images
from cxr_edge.runs.directory import REPORT, RunDirectory
from cxr_edge.runs.inputs import Inputs, Skipped, Tally, find_inputs
from cxr_edge.support.parallel import usable_cores
from cxr_edge.support.text import printable, printable_path

#: Default of ``--dicom-overlays``: positive findings that are drawn in DICOM results.
DICOM_OVERLAYS: Final = 3
#: Most rows of the printed table, of images and of failures, where a results directory has all results.
MAX_ROWS: Final = 100


def infer(
    context: typer.Context,
    paths: Annotated[
        list[str],
        typer.Argument(metavar="PATH", help="Images (PNG, JPEG, DICOM) or directories, searched recursively."),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            parser=directory,
            metavar="DIR",
            help="Write predictions.jsonl, predictions.csv, heatmaps/ and run.json here. The same command resumes an "
            "interrupted run.",
        ),
    ] = None,
    report: Annotated[
        bool,
        typer.Option(
            "--report",
            help="Also write report.html, with every image, its heat maps and its findings; from 1,000 images on, an "
            "overview with pages beside it. Needs --out.",
        ),
    ] = False,
    dicom_out: Annotated[
        Path | None,
        typer.Option(
            parser=directory,
            metavar="DIR",
            help="Write DICOM results of DICOM images here: a structured report, overlays of positive findings as "
            "Secondary Captures, and their outlines as a presentation state.",
        ),
    ] = None,
    dicom_overlays: Annotated[
        int, typer.Option(metavar="N", min=0, help="With --dicom-out: draw and outline at most N positive findings.")
    ] = DICOM_OVERLAYS,
    tta: Annotated[
        bool | None,
        typer.Option(
            "--tta/--no-tta",
            show_default="set by the bundle",
            help="Average over the bundle's TTA variants of each image, or use the unchanged image alone.",
        ),
    ] = None,
    adaptive: Annotated[
        bool,
        typer.Option(
            "--adaptive",
            help="With TTA: evaluate only the first variants where the others are unlikely to change the decision on "
            "any finding.",
        ),
    ] = False,
    cam: Annotated[
        int, typer.Option(metavar="N", min=0, help="Heat-map overlays for the N most probable findings; needs --out.")
    ] = 0,
    device: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            autocompletion=devices,
            help=f"One of {', '.join(DEVICE_NAMES)}. auto takes the fastest that works here.",
        ),
    ] = "auto",
    precision: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            show_default="fp16 with TensorRT, else set by the bundle",
            help="A variant of the bundle, such as fp32, fp16 or int8; with openvino also bf16.",
        ),
    ] = None,
    bundle: BundleOption = None,
    operating_point: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            autocompletion=operating_points,
            show_default="set by the bundle",
            help="Set of thresholds, such as max_f1, youden or sensitivity_80.",
        ),
    ] = None,
    colormap: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            autocompletion=lambda: list(COLORMAPS),
            help=f"Colours of the heat maps: {', '.join(COLORMAPS)}.",
        ),
    ] = "turbo",
    overlay_format: Annotated[
        OverlayFormat, typer.Option(help="Of the files of --cam: jpeg, or png, which is exact, slower and larger.")
    ] = OverlayFormat.JPEG,
    threads: Annotated[
        int | None, typer.Option(metavar="N", min=1, max=256, show_default="all cores", help="CPU threads to use.")
    ] = None,
    spin: Annotated[
        bool, typer.Option("--spin/--no-spin", help="Let idle CPU threads spin for a moment before they sleep.")
    ] = True,
    gpu_memory: Annotated[
        int, typer.Option(metavar="MIB", min=64, help="Largest GPU memory for each of the two graphs.")
    ] = Resources.gpu_memory // MEBIBYTE,
    strict: Annotated[
        bool,
        typer.Option(
            "--strict", help="Refuse DICOM images that are lateral, turned or not of the chest, by their header."
        ),
    ] = False,
    limits: Annotated[
        list[str] | None,
        typer.Option("--limit", metavar="NAME=VALUE", help=f"A limit on inputs: {', '.join(LIMIT_NAMES)}; repeatable."),
    ] = None,
    isolate: Annotated[
        bool,
        typer.Option(
            "--isolate/--no-isolate",
            help="Decode compressed DICOM in separate processes, so that a hostile image ends its decoder and not the "
            "run. --no-isolate decodes in the process of the run: for images that you trust.",
        ),
    ] = True,
    json_lines: Annotated[
        bool, typer.Option("--json", help="Print JSON lines on standard output, and nothing else there.")
    ] = False,
) -> None:
    """Report the findings of chest radiographs.

    Exit status: 0 all images were read; 1 some inputs failed; 2 usage, or no image found; 3 the model or the device is
    unavailable; 130 interrupted.

    For example:

      cxr-edge infer image.png

      cxr-edge infer images/ --cam 3 --out results/

      cxr-edge infer images/ --report --out results/

      cxr-edge infer images/ --json --no-tta

      cxr-edge infer study/ --dicom-out for-the-archive/
    """
    _check_streams(out, dicom_out)
    _check_choices(out, cam, colormap, report=report, tta=tta, adaptive=adaptive)
    _check_effect(context, drawn=bool(cam or report or (dicom_out and dicom_overlays)))
    inputs = _inputs(paths, {"--out": out, "--dicom-out": dicom_out}, json_lines)
    _make_dicom_directory(dicom_out)
    input_limits = _input_limits(limits or [], strict=strict, isolated=isolate)
    cv2.setNumThreads(1)
    cores = threads or usable_cores()
    one_image = len(inputs.paths) == 1
    tally = Tally(inputs.results)
    try:
        model = load(
            bundle,
            device=device,
            precision=precision,
            threads=cores if one_image else 1,
            spinning=spin,
            gpu_memory=gpu_memory * MEBIBYTE,
            limits=input_limits,
        )
        if device == "auto" or model.precision not in model.manifest.variants:
            typer.echo(f"Device {model.device} ({model.precision}): {model.device_reason}.", err=True)
        if tta and len(model.manifest.tta.variants) == 1:
            typer.echo("--tta changes nothing: the bundle has one TTA variant, the image as it is.", err=True)
        settings = model.settings(tta=tta, adaptive=adaptive, operating_point=operating_point)
        has_maps = model.manifest.maps is not None
        if not has_maps and dicom_out and not given(context, "dicom_overlays"):
            dicom_overlays = 0
            typer.echo("The bundle has no heat maps: DICOM results are structured reports alone.", err=True)
        pictures = ReportPictures(out, len(inputs.paths), heatmaps=has_maps) if out and report else None
        outputs = [  # a new kind of output is registered here
            *_overlay_outputs(out, cam, colormap, overlay_format),
            *_dicom_outputs(dicom_out, dicom_overlays, colormap, model.provenance(settings)),
            *([pictures] if pictures else []),
        ]
        analyser = Analyser.of(model, settings, outputs)
        options = {"cam": cam, "colormap": colormap, "strict": strict}
        options["overlay_format"] = overlay_format.value if cam else None
        options["dicom_overlays"] = dicom_overlays if dicom_out else None
        with _run_directory(out, model, analyser.provenance, options) as run:
            records = infer_images(analyser, inputs, run, workers=1 if one_image else cores)
            shown = _consume(records, len(inputs.paths), tally, json_lines, keep_all=out is None)
            if run is not None:
                run.finish(inputs.paths, tally.described())
                if pictures:
                    _write_report(run, analyser.provenance, pictures, len(tally.skipped), colormap)
        if tally.images and not json_lines:
            written = [path for path in (out, dicom_out) if path]
            _print_table(shown, tally, model.device, written, out / REPORT if out and report else None)
    except (HeatmapUnavailable, OutputError, UnknownOperatingPoint, UnknownPrecision) as error:
        fail(error, USAGE)
    except CxrEdgeError as error:
        fail(error, NO_MODEL_OR_DEVICE)
    except KeyboardInterrupt:
        resume = f" {out} has the results so far: give the same command again to resume." if out else ""
        typer.echo(f"Interrupted.{resume}", err=True)
        raise typer.Exit(INTERRUPTED) from None
    if not tally.images:
        _fail_without_images(tally)
    if json_lines and (left_out := tally.left_out()):
        typer.echo(left_out, err=True)
    raise typer.Exit(SOME_FAILED if tally.failed else 0)


def _check_streams(*written: Path | None) -> None:
    """Refuse a run whose results nobody would get."""
    if "stdout" in closed and not any(written):
        raise typer.BadParameter("standard output is closed, and nothing else holds the results: add --out DIR")


def _inputs(paths: list[str], outputs: dict[str, Path | None], json_lines: bool) -> Inputs:
    if not all(paths):
        raise typer.BadParameter("an empty path; is a shell variable unset?", param_hint="PATH")
    for option, out in outputs.items():
        if out is not None and any(os.path.isdir(path) and out.resolve() == Path(path).resolve() for path in paths):
            raise typer.BadParameter("the results directory cannot be an input directory", param_hint=option)
    inputs = find_inputs(paths, exclude=[out for out in outputs.values() if out is not None])
    if not any(map(_exists, inputs.paths)):
        missing = NotFound("nothing exists at this path; check its spelling")
        for path in inputs.paths if json_lines else ():
            _print_json(failure_of(path, missing).record())
        for path in paths:
            why = "the directory contains no file" if os.path.isdir(path) else str(missing)
            typer.echo(f"cxr-edge: {printable(printable_path(path))}: {why}", err=True)
        if left_out := Tally(inputs.results).left_out():
            typer.echo(left_out, err=True)
        raise typer.Exit(USAGE)
    return inputs


def _fail_without_images(tally: Tally) -> NoReturn:
    typer.echo(f"cxr-edge: no image found; name images, or a directory of them. {tally.left_out()}", err=True)
    raise typer.Exit(USAGE)


def _make_dicom_directory(path: Path | None) -> None:
    """Make the directory and check that the packages for DICOM results are installed, before any image is read."""
    if path is None:
        return
    if (missing := next((name for name in ("pydicom", "highdicom") if find_spec(name) is None), None)) is not None:
        raise typer.BadParameter(
            f"the package {missing} is not installed; {how_to_get('dicom')}", param_hint="--dicom-out"
        )
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        fail(OutputUnwritable.at(path, error, "--dicom-out"), USAGE)


def _exists(path: str) -> bool:
    """Return whether a path exists, or may exist: a missing permission is reported later, as an error of its own."""
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return False
    except OSError:
        return True
    return True


def _check_choices(
    out: Path | None, cam: int, colormap: str, *, report: bool, tta: bool | None, adaptive: bool
) -> None:
    if adaptive and tta is False:
        raise typer.BadParameter("it chooses among the variants of --tta: leave out --no-tta", param_hint="--adaptive")
    if cam and out is None:
        raise typer.BadParameter("overlays are written into a results directory: add --out DIR", param_hint="--cam")
    if report and out is None:
        raise typer.BadParameter("the report is written into a results directory: add --out DIR", param_hint="--report")
    if colormap not in COLORMAPS:
        raise typer.BadParameter(f"expected one of {', '.join(COLORMAPS)}, got {colormap!r}", param_hint="--colormap")


def _check_effect(context: typer.Context, *, drawn: bool) -> None:
    """Refuse options that would have no effect beside the others."""
    device = context.params["device"]
    if given(context, "dicom_overlays") and context.params["dicom_out"] is None:
        raise typer.BadParameter(
            "it limits overlays in DICOM results: add --dicom-out DIR", param_hint="--dicom-overlays"
        )
    if given(context, "overlay_format") and not context.params["cam"]:
        raise typer.BadParameter("no overlay files were requested: add --cam N", param_hint="--overlay-format")
    if given(context, "colormap") and not drawn:
        raise typer.BadParameter(
            "it sets the colours of heat maps, and none was requested: add --cam N, --report or --dicom-out DIR",
            param_hint="--colormap",
        )
    chosen = DEVICES.get(device)
    if given(context, "gpu_memory") and chosen is not None and not chosen.on_gpu:
        raise typer.BadParameter(f"--device {device} uses no GPU: leave one of the two out", param_hint="--gpu-memory")
    if given(context, "spin") and chosen is not None and not chosen.spins:
        raise typer.BadParameter(
            f"--device {device} has no threads that spin: leave one of the two out", param_hint="--spin/--no-spin"
        )


def _input_limits(limits: list[str], *, strict: bool, isolated: bool) -> InputLimits:
    values: dict[str, object] = {"strict": strict, "isolated": isolated}
    for limit in limits:
        name, equals, value = limit.partition("=")
        if not equals or name not in LIMIT_NAMES:
            raise typer.BadParameter(
                f"expected NAME=VALUE with {', '.join(LIMIT_NAMES)}, got {limit!r}", param_hint="--limit"
            )
        if name in values:
            raise typer.BadParameter(f"expected {name} once, got it twice", param_hint="--limit")
        values[name] = value
    try:
        return msgspec.convert(values, InputLimits, strict=False)
    except msgspec.ValidationError as error:
        raise typer.BadParameter(f"expected numbers above 0, got {', '.join(limits)}", param_hint="--limit") from error


def _overlay_outputs(out: Path | None, cam: int, colormap: str, encoding: OverlayFormat) -> list[Output]:
    return [OverlayFiles(out, cam, colormap, encoding)] if out is not None and cam else []


def _dicom_outputs(dicom_out: Path | None, overlays: int, colormap: str, provenance: Provenance) -> list[Output]:
    if dicom_out is None:
        return []
    from cxr_edge.outputs.dicom import DicomDirectory

    return [DicomDirectory(dicom_out, overlays, colormap, provenance)]


def _run_directory(
    out: Path | None, model: Model, provenance: Provenance, options: dict[str, object]
) -> AbstractContextManager[RunDirectory | None]:
    if out is None:
        return nullcontext()
    notes = {"model": model.identity, "device_reason": model.device_reason, "notice": NOTICE}
    names = [label.name for label in model.labels]
    return RunDirectory(out, {**provenance.identity(), **options}, notes, names)


def _write_report(
    run: RunDirectory, provenance: Provenance, pictures: ReportPictures, skipped: int, colormap: str
) -> None:
    # Jinja takes a tenth of a second to import.
    from cxr_edge.outputs.html.page import ReportedRun, write_report

    reported = ReportedRun(run.records, pictures.picture_of, skipped)
    write_report(run.root / REPORT, provenance, reported, colormap)


def _consume(
    records: Iterator[Record | Skipped], total: int, tally: Tally, json_lines: bool, keep_all: bool
) -> list[Record]:
    """Run, count, print JSON lines as they come; return the records to show in a table."""
    shown: list[Record] = []
    rows = Counter[type[Record]]()
    with _progress(total) as advance:
        for record in records:
            tally.add(record)
            if isinstance(record, Skipped):
                pass
            elif json_lines:
                _print_json(record)
            elif keep_all or rows[type(record)] < MAX_ROWS:
                rows[type(record)] += 1
                shown.append(record)
            advance()
    return shown


def _progress(total: int) -> AbstractContextManager[Callable[[], None]]:
    if not sys.stderr.isatty():
        return nullcontext(lambda: None)
    from cxr_edge.cli.terminal import image_counter

    return image_counter(total)


def _print_json(record: Record) -> None:
    sys.stdout.buffer.write(encode_record(record))
    sys.stdout.buffer.flush()


def _print_table(shown: list[Record], tally: Tally, device: str, out: list[Path], report: Path | None) -> None:
    # Rich takes a tenth of a second to import; programs that read JSON lines need not wait for it.
    from cxr_edge.cli.terminal import print_findings

    closing = [f"{tally.read} of {tally.images} images read on {device}.", tally.left_out()]
    closing += [f"Results in {' and '.join(map(str, out))}."] if out else []
    closing += [f"Open {report} in a browser."] if report else []
    print_findings(shown, tally.images, " ".join(filter(None, [*closing, NOTICE])))
