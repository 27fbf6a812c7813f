"""Many films: decode, infer and draw on one thread per core, results in input order."""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from cxr_edge import images
from cxr_edge.errors import DeviceFailed, InputError, InvalidHeader, NotDicom
from cxr_edge.inputs import read_bytes
from cxr_edge.model import Model, failure_of
from cxr_edge.overlays import overlay_name, overlay_prefix, top_diseases, write_atomically, write_overlay
from cxr_edge.parallel import map_in_order
from cxr_edge.report.picture import FilmPicture
from cxr_edge.results import Result
from cxr_edge.rundir import Line, RunDirectory


@dataclass(frozen=True)
class Options:
    """What a run computes.

    Attributes
    ----------
    tta : bool
    operating_point : str
    cam : int
        Overlays for that many diseases of highest probability.
    colormap : str
        One of `cxr_edge.gradcam.COLORMAPS`.
    adaptive : bool
        Stop early; see `Model.predict`.
    dicom_out : Path or None
        Where the DICOM results go.
    dicom_overlays : int
        Positive findings that are drawn and outlined in them, at most.
    report : bool
        Keep of each film what the HTML report shows.
    """

    tta: bool
    operating_point: str
    cam: int
    colormap: str
    adaptive: bool = False
    dicom_out: Path | None = None
    dicom_overlays: int = 3
    report: bool = False

    @property
    def heatmaps(self) -> bool:
        """Whether any output needs heat maps."""
        return self.cam > 0 or self.report or (self.dicom_out is not None and self.dicom_overlays > 0)


def infer(
    model: Model, inputs: Iterable[str], options: Options, directory: RunDirectory | None, workers: int
) -> Iterator[Line]:
    """Infer films from files, and record each in the results directory as it is done.

    Parameters
    ----------
    model : Model
    inputs : iterable of str
    options : Options
    directory : RunDirectory or None
        Where lines and overlays go. What it holds already and still fits is not computed again.
    workers : int
        Films in work at the same time.

    Yields
    ------
    dict
        The line of each input, in input order.

    Raises
    ------
    DeviceFailed
        After the line of the film that met it; the films after it are left to the next run.
    """

    def one(path: str) -> tuple[str, Line, DeviceFailed | None]:
        try:
            return path, _infer_one(model, path, options, directory), None
        except InputError as error:
            return path, failure_of(path, error).to_dict(), None
        except DeviceFailed as error:
            return path, failure_of(path, error).to_dict(), error

    for path, line, failed in map_in_order(one, inputs, workers):
        if directory is not None:
            directory.append(path, line)
        yield line
        if failed is not None:
            raise failed


def _infer_one(model: Model, path: str, options: Options, directory: RunDirectory | None) -> Line:
    data = read_bytes(path, model.reading.max_file_bytes)
    if directory is not None and (
        line := directory.reusable(path, hashlib.sha256(data).hexdigest(), options.dicom_out, pictured=options.report)
    ):
        return line
    if directory is not None:
        directory.discard_overlays(overlay_prefix(path))
    film = images.decode(data, model.reading)
    result = model.predict_film(
        film,
        path=path,
        tta=options.tta,
        adaptive=options.adaptive,
        heatmaps=options.heatmaps,
        operating_point=options.operating_point,
    )
    if directory is not None and options.report:
        directory.keep_picture(path, FilmPicture.of(film.pixels, result))
    if directory is not None and options.cam:
        result = _with_overlays(result, film, path, options, directory)
    if options.dicom_out is not None:
        result = _with_dicom(model, data, film, result, options, options.dicom_out)
    return result.to_dict()


def _with_overlays(result: Result, film: images.Film, path: str, options: Options, directory: RunDirectory) -> Result:
    files = {label: overlay_name(path, label) for label in top_diseases(result, options.cam)}
    for label, name in files.items():
        write_overlay(directory.root, name, film.pixels, result, label, options.colormap)
    findings = tuple(
        replace(f, heatmap=files[f.label], heatmap_empty=not result.map_of(f.label).any()) if f.label in files else f
        for f in result.findings
    )
    return replace(result, findings=findings)


def _with_dicom(
    model: Model, data: bytes, film: images.Film, result: Result, options: Options, directory: Path
) -> Result:
    from cxr_edge.dicom.write import Origin, other_names, write_objects

    origin = Origin.of(model, result.view_mode, options.operating_point)
    try:
        objects = write_objects(
            data, film, result, origin, model.reading, overlays=options.dicom_overlays, colormap=options.colormap
        )
    except (NotDicom, InvalidHeader) as error:
        return replace(result, dicom=(), warnings=(*result.warnings, f"no DICOM results: {error}"))
    for made in objects:
        write_atomically(directory / made.name, made.data, source=str(result.path))
    for name in other_names(objects):  # what an earlier run with other settings left
        (directory / name).unlink(missing_ok=True)
    warnings = (warning for made in objects for warning in made.warnings)
    return replace(result, dicom=tuple(made.name for made in objects), warnings=(*result.warnings, *warnings))
