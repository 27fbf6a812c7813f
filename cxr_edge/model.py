"""The one object an integrator holds: a loaded model that turns films into results."""

import copy
import os
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt

from cxr_edge import images
from cxr_edge.backends import ONE_THREAD, Resources, usable_cores
from cxr_edge.backends.base import MEBIBYTE, on_host
from cxr_edge.bundle import Bundle, read_bundle
from cxr_edge.calibration import calibrate
from cxr_edge.errors import BundleTensors, DeviceFailed, InputError, InvalidArray
from cxr_edge.findings import make_findings
from cxr_edge.graphs import open_graphs
from cxr_edge.manifest import Evaluated, Manifest, ViewMode
from cxr_edge.out_of_distribution import features_of, warning_of
from cxr_edge.parallel import map_in_order
from cxr_edge.preprocess import preprocess
from cxr_edge.reading import DEFAULT_READING, Reading
from cxr_edge.results import InputFailure, Result
from cxr_edge.text import printable_path
from cxr_edge.views import IDENTITY, Evaluation, View, make_views

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

#: A path, the bytes of a file, pixels as (H, W) uint8 or uint16, or a pydicom data set.
Source: TypeAlias = "str | os.PathLike[str] | bytes | npt.NDArray[np.uint8] | npt.NDArray[np.uint16] | Dataset"


def load(
    bundle: str | os.PathLike[str] | None = None,
    *,
    device: str = "auto",
    precision: str | None = None,
    threads: int | None = None,
    spinning: bool = True,
    gpu_memory: int = Resources.gpu_memory,
    reading: Reading = DEFAULT_READING,
) -> "Model":
    """Load a bundle onto a device.

    Parameters
    ----------
    bundle : path, optional
        A bundle directory; the shipped one if left out.
    device : str
        ``auto`` (the fastest that truly works here; `Model.device_reason` says why), ``cpu``,
        ``cuda``, ``tensorrt-ep`` (ONNX Runtime's TensorRT; compiles for minutes on first use),
        ``tensorrt`` (an engine that ``cxr-edge engine build`` made) or ``openvino``.
    precision : str, optional
        A variant of the bundle, such as ``fp32`` or ``fp16``; ``bf16`` with ``openvino``. Left
        out: ``fp16`` with TensorRT, the bundle's default elsewhere.
    threads : int, optional
        CPU threads that share one inference. All cores if left out: the shortest time for one
        film. With 1, `Model.predict_batch` works on one film per core: the most films a second.
    spinning : bool
        Let idle threads of ONNX Runtime wait busily for a moment: a faster next inference, at the
        cost of whatever else the cores should do.
    gpu_memory : int
        Most bytes that each of the two graphs may take on the GPU; 2 GiB if left out.
    reading : Reading
        Bounds that films are held against.

    Returns
    -------
    Model

    Raises
    ------
    BundleError
        The bundle is missing, damaged or foreign.
    DeviceUnavailable
        The device was asked for and cannot be had.
    UnknownPrecision
        The bundle has no such variant, or the device cannot compute in it.
    ValueError
        `threads` is below 1, or `gpu_memory` below 64 MiB.
    """
    if threads is not None and threads < 1:
        raise ValueError(f"expected threads of at least 1, got {threads}")
    if gpu_memory < 64 * MEBIBYTE:
        raise ValueError(f"expected gpu_memory of at least {64 * MEBIBYTE} bytes, got {gpu_memory}")
    resources = Resources(threads or usable_cores(), spinning, gpu_memory)
    return Model(read_bundle(bundle), device, precision, resources, reading)


class Model:
    """A loaded model: immutable, and safe to call from several threads. Made by `load`."""

    def __init__(
        self,
        bundle: Bundle,
        device: str,
        precision: str | None = None,
        resources: Resources = ONE_THREAD,
        reading: Reading = DEFAULT_READING,
    ) -> None:
        self.reading = reading
        self._manifest = bundle.manifest
        self._identity = bundle.identity
        self._bundle_sha256 = bundle.sha256
        self._graphs = open_graphs(bundle, device, precision, resources)
        self._workers = max(1, usable_cores() // resources.threads)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.identity} on {self.device} in {self.precision}>"

    @property
    def manifest(self) -> Manifest:
        """What the bundle says of itself; a copy, so that changing it changes nothing here."""
        return copy.deepcopy(self._manifest)

    @property
    def identity(self) -> str:
        """Name, version and short hash of the bundle."""
        return self._identity

    @property
    def bundle_sha256(self) -> str:
        """Hash of the bundle's manifest, which holds the hashes of its files."""
        return self._bundle_sha256

    @property
    def device(self) -> str:
        """What it truly runs on."""
        return self._graphs.network.device

    @property
    def device_reason(self) -> str:
        """Why it is that device."""
        return self._graphs.reason

    @property
    def precision(self) -> str:
        """The precision it computes in, a variant of the bundle or ``bf16``."""
        return self._graphs.precision

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels, in the order of the network's outputs."""
        return self._manifest.labels

    def predict(
        self,
        source: Source,
        *,
        tta: bool | None = None,
        adaptive: bool = False,
        heatmaps: bool = False,
        operating_point: str | None = None,
        bits_stored: int = 16,
    ) -> Result:
        """Say what one film shows.

        Parameters
        ----------
        source : path, bytes, ndarray of (H, W) uint8 or uint16, or pydicom.Dataset
            A PNG, JPEG or DICOM file, its bytes, decoded grey levels (bright bone), or a DICOM data
            set with its pixels as they came.
        tta : bool, optional
            Average over the manifest's views (six in the shipped bundle) instead of one view;
            the manifest's default if left out.
        adaptive : bool
            Stop after the first views (two in the shipped bundle) where the others are not likely to change the
            call of any disease; see `cxr_edge.adaptive.Adaptive`. Implies `tta`.
        heatmaps : bool
            Compute Grad-CAM maps of all labels, for `Result.heatmap`.
        operating_point : str, optional
            Which thresholds; the manifest's default if left out.
        bits_stored : int
            For uint16 arrays: bits that carry the picture, 8 to 16.

        Returns
        -------
        Result

        Raises
        ------
        InputError
            The film cannot be used; `code` says why.
        DeviceFailed
            The device was lost, or has too little memory.
        UnknownOperatingPoint
            Or one that has no rule to stop early by, with `adaptive`.
        ValueError
            `adaptive` without the views it chooses from.
        """
        path = os.fspath(source) if isinstance(source, str | os.PathLike) else None
        film = _film(source, bits_stored, self.reading)
        return self.predict_film(
            film, path=path, tta=tta, adaptive=adaptive, heatmaps=heatmaps, operating_point=operating_point
        )

    def predict_batch(
        self,
        sources: Iterable[Source],
        *,
        tta: bool | None = None,
        adaptive: bool = False,
        heatmaps: bool = False,
        operating_point: str | None = None,
        bits_stored: int = 16,
    ) -> list[Result | InputFailure]:
        """Say what many films show; a film that cannot be used costs itself alone.

        Parameters
        ----------
        sources : iterable
            As for `predict`.
        tta, adaptive, heatmaps, operating_point, bits_stored
            As for `predict`, the same for all.

        Returns
        -------
        list of Result or InputFailure
            In the order of the sources.

        Raises
        ------
        TypeError
            `sources` is one path or one file's bytes.
        """
        if isinstance(sources, str | bytes | os.PathLike):
            raise TypeError(f"expected several sources, got {sources!r:.80}; call predict, or put it into a list")

        def attempt(source: Source) -> Result | InputFailure:
            try:
                return self.predict(
                    source,
                    tta=tta,
                    adaptive=adaptive,
                    heatmaps=heatmaps,
                    operating_point=operating_point,
                    bits_stored=bits_stored,
                )
            except (InputError, DeviceFailed) as error:
                return failure_of(source, error)

        return list(map_in_order(attempt, sources, self._workers))

    def predict_film(
        self,
        film: images.Film,
        *,
        path: str | None = None,
        tta: bool | None = None,
        adaptive: bool = False,
        heatmaps: bool = False,
        operating_point: str | None = None,
    ) -> Result:
        """Say what a film shows that is decoded already; see `predict`."""
        manifest = self._manifest
        mode = self.view_mode(tta, adaptive=adaptive)
        point = operating_point or manifest.default_operating_point
        shown = preprocess(film.pixels, manifest.input.size)
        if mode == "adaptive":
            evaluated = self._evaluate_adaptively(shown, point, heatmaps=heatmaps)
        else:
            evaluated = self._evaluate(shown, manifest.views if mode == "tta" else manifest.views[:1], heatmaps)
        fitted_for: ViewMode = "single" if mode == "single" else "tta"
        values = tuple(self._calibrated(evaluated, fitted_for).tolist())
        thresholds = manifest.thresholds(point, fitted_for)
        return Result(
            path=path,
            sha256=film.sha256,
            model=self.identity,
            view_mode=mode,
            views=len(evaluated.views),
            labels=manifest.labels,
            values=values,
            findings=make_findings(
                manifest.labels, values, evaluated.probabilities, thresholds, manifest.min_probability
            ),
            warnings=film.warnings + warning_of(evaluated.unlikeness),
            cautions=film.cautions + warning_of(evaluated.unlikeness),
            size=(film.pixels.shape[0], film.pixels.shape[1]),
            maps=evaluated.average_maps(),
        )

    def view_mode(self, tta: bool | None, *, adaptive: bool = False) -> Evaluated:
        """Give the view mode that a choice of `tta` and `adaptive` means."""
        if adaptive:
            if tta is False:
                raise ValueError("adaptive chooses among the views of tta; leave out tta=False, or adaptive")
            return "adaptive"
        if tta is None:
            return self._manifest.default_view_mode
        return "tta" if tta else "single"

    def _evaluate_adaptively(self, shown: npt.NDArray[np.uint8], operating_point: str, *, heatmaps: bool) -> Evaluation:
        """Evaluate the first views, and the rest unless the first are enough."""
        manifest = self._manifest
        rule = manifest.adaptive(operating_point)
        first = self._evaluate(shown, [manifest.views[index] for index in rule.first], heatmaps)
        thresholds = manifest.thresholds(operating_point, "tta")
        if rule.decided(self._calibrated(first, "tta"), manifest.labels, thresholds):
            return first
        rest = [view for index, view in enumerate(manifest.views) if index not in rule.first]
        return first.joined(self._evaluate(shown, rest, heatmaps))

    def _evaluate(self, shown: npt.NDArray[np.uint8], views: Sequence[View], heatmaps: bool) -> Evaluation:
        names, rule = self._manifest.tensors, self._manifest.out_of_distribution
        scored = rule is not None and IDENTITY in views
        wanted = [names.probabilities] + [names.last_conv] * (heatmaps or scored)
        batch = make_views(shown, views)
        keep = wanted[1:] if heatmaps else []
        probabilities, *last_conv = self._graphs.network.run(wanted, {names.image: batch}, keep=keep)
        if not np.isfinite(probabilities).all():
            raise BundleTensors("the network gave a probability that is no number; export the bundle again")
        maps = None
        if heatmaps:
            (maps,) = self._graphs.gradcam.run([names.maps], {names.last_conv: last_conv[0]})
            if not np.isfinite(maps).all():
                raise BundleTensors("the companion graph gave a map that is no number; export the bundle again")
        unlikeness = None
        if rule is not None and scored:
            unlikeness = rule.score(features_of(on_host(last_conv[0])[views.index(IDENTITY)]))
        return Evaluation(tuple(views), probabilities, maps, unlikeness)

    def _calibrated(self, evaluated: Evaluation, fitted_for: ViewMode) -> npt.NDArray[np.float64]:
        manifest = self._manifest
        raw = evaluated.probabilities.mean(axis=0, dtype=np.float64)
        return calibrate(raw, manifest.curves(fitted_for), manifest.labels)


def failure_of(source: Source, error: InputError | DeviceFailed) -> InputFailure:
    """Turn an exception that a film met into its place in a list of results."""
    path = printable_path(os.fspath(source)) if isinstance(source, str | os.PathLike) else None
    return InputFailure(path, error.code, str(error))


def _film(source: Source, bits_stored: int, reading: Reading) -> images.Film:
    if isinstance(source, np.ndarray):
        return images.from_array(source, bits_stored, reading)
    if isinstance(source, bytes):
        return images.decode(source, reading)
    if isinstance(source, str | os.PathLike):
        return images.read_film(source, reading)
    if (dataset := _pydicom_dataset()) and isinstance(source, dataset):
        return images.from_dataset(source, reading)
    raise InvalidArray(f"expected a path, bytes, a numpy array or a pydicom Dataset, got {type(source).__name__}")


def _pydicom_dataset() -> "type[Dataset] | None":
    """Give pydicom's class if the caller has imported it: without it there is no data set to recognise."""
    module = sys.modules.get("pydicom.dataset")
    return module.Dataset if module else None
