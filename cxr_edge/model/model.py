"""A loaded model, which turns images into results: the entry point for an integrator."""

import copy
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt

from cxr_edge import images
from cxr_edge.backends import ONE_THREAD, Resources
from cxr_edge.backends.base import MEBIBYTE
from cxr_edge.errors import DeviceFailed, HeatmapUnavailable, InputError, InvalidArray
from cxr_edge.images.limits import DEFAULT_LIMITS, InputLimits
from cxr_edge.model import decide
from cxr_edge.model.bundle import Bundle, read_bundle
from cxr_edge.model.evaluation import Evaluation
from cxr_edge.model.gates import describe_gate
from cxr_edge.model.labels import Label
from cxr_edge.model.manifest import Manifest
from cxr_edge.model.members import Outputs, merge_maps, merge_probabilities
from cxr_edge.model.network import InputFormat
from cxr_edge.model.out_of_distribution import features_of
from cxr_edge.model.preprocess import preprocess
from cxr_edge.model.processes import OpenGraphs
from cxr_edge.model.provenance import Provenance
from cxr_edge.model.results import InputFailure, Result
from cxr_edge.model.settings import Settings, TtaMode
from cxr_edge.model.tta import IDENTITY, TtaVariant, make_variants
from cxr_edge.support.parallel import map_in_order, usable_cores
from cxr_edge.support.text import printable_path

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

    from cxr_edge.images.dicom.header.stated import Stated

#: A path, the bytes of a file, pixels as (H, W) uint8 or uint16, a pydicom data set, or a decoded image.
Source: TypeAlias = (
    "str | os.PathLike[str] | bytes | npt.NDArray[np.uint8] | npt.NDArray[np.uint16] | Dataset | images.DecodedImage"
)


def load(
    bundle: str | os.PathLike[str] | None = None,
    *,
    device: str = "auto",
    precision: str | None = None,
    threads: int | None = None,
    spinning: bool = True,
    gpu_memory: int = Resources.gpu_memory,
    limits: InputLimits = DEFAULT_LIMITS,
) -> "Model":
    """Load a bundle onto a device.

    Parameters
    ----------
    bundle : path, optional
        A bundle directory; the shipped one if left out.
    device : str
        ``auto`` (the fastest that works here; `Model.device_reason` states why), ``cpu``,
        ``cuda``, ``tensorrt-ep`` (ONNX Runtime's TensorRT; compiles for minutes on first use),
        ``tensorrt`` (an engine that ``cxr-edge engine build`` made) or ``openvino``.
    precision : str, optional
        A variant of the bundle, such as ``fp32`` or ``fp16``; ``bf16`` with ``openvino``. Left
        out: ``fp16`` with TensorRT, the bundle's default elsewhere.
    threads : int, optional
        CPU threads that share one inference. All cores if left out: the shortest time for one
        image.
    spinning : bool
        Let idle threads of ONNX Runtime wait busily for a moment: a faster next inference, at the
        cost of whatever else the cores should do.
    gpu_memory : int
        Most bytes that each graph may take on the GPU; 2 GiB if left out.
    limits : InputLimits
        Bounds that images are checked against.

    Returns
    -------
    Model

    Raises
    ------
    BundleError
        The bundle is missing, damaged or invalid, or of another format version.
    DeviceUnavailable
        The device that was asked for is not available, or with ``auto`` none works.
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
    return Model(read_bundle(bundle), device, precision, resources, limits)


class Model:
    """A loaded model: immutable, and safe to call from several threads. Made by `load`.

    `predict` is `evaluate` followed by `decide`, with `settings` that are checked once.
    """

    def __init__(
        self,
        bundle: Bundle,
        device: str,
        precision: str | None = None,
        resources: Resources = ONE_THREAD,
        limits: InputLimits = DEFAULT_LIMITS,
    ) -> None:
        self.limits = replace(limits, view=bundle.manifest.view)
        self._manifest = bundle.manifest
        self._identity = bundle.identity
        self._bundle_sha256 = bundle.sha256
        self._inputs = {network.input for network in bundle.manifest.networks}
        self._graphs = OpenGraphs(bundle, device, precision, resources)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.identity} on {self.device} in {self.precision}>"

    @property
    def manifest(self) -> Manifest:
        """The bundle's manifest; a copy, so that a change of it does not change the model."""
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
        """The device the model actually runs on."""
        return self._graphs.described.device

    @property
    def device_reason(self) -> str:
        """Why the model runs on that device."""
        return self._graphs.described.reason

    @property
    def precision(self) -> str:
        """The precision it computes in, a variant of the bundle or ``bf16``."""
        return self._graphs.described.precision

    @property
    def labels(self) -> tuple[Label, ...]:
        """The labels, in the order of the network's outputs."""
        return self._manifest.labels

    def settings(
        self,
        *,
        tta: bool | None = None,
        adaptive: bool = False,
        operating_point: str | None = None,
        heatmaps: bool = False,
    ) -> Settings:
        """Choose how images are evaluated and decided on, and check the choice against the bundle.

        Parameters
        ----------
        tta : bool, optional
            Average over the bundle's TTA variants instead of the unchanged image alone; the bundle's
            default if left out.
        adaptive : bool
            Stop after the first variants where the others are not likely to change the decision on any
            finding; see `cxr_edge.model.early_exit.EarlyExit`. Implies `tta`.
        operating_point : str, optional
            Which thresholds; the bundle's default if left out.
        heatmaps : bool
            Compute heat maps of all labels, for `Result.heatmap`.

        Raises
        ------
        UnknownOperatingPoint
            The bundle has no such operating point; or, with `adaptive`, the operating point has no early-exit rule.
        HeatmapUnavailable
            The bundle has no heat maps.
        ValueError
            `adaptive` with ``tta=False``.
        """
        manifest = self._manifest
        if adaptive and tta is False:
            raise ValueError("adaptive chooses among the variants of tta; leave out tta=False, or adaptive")
        mode: TtaMode = manifest.tta.default_mode
        if adaptive:
            mode = "adaptive"
        elif tta is not None:
            mode = "tta" if tta else "single"
        chosen = Settings(mode, manifest.default_operating_point if operating_point is None else operating_point)
        manifest.thresholds(chosen.operating_point, chosen.fitted_mode)
        if adaptive:
            manifest.early_exit(chosen.operating_point)
        return self.with_heatmaps(chosen) if heatmaps else chosen

    def with_heatmaps(self, settings: Settings) -> Settings:
        """Return the same settings with heat maps.

        Raises
        ------
        HeatmapUnavailable
            The bundle has no heat maps.
        """
        if self._manifest.maps is None:
            why = self._manifest.training.get("no_maps")
            raise HeatmapUnavailable(
                f"the bundle {self.identity} has no heat maps{f' ({why})' if why else ''}; leave them out (no "
                "--cam and no --dicom-overlays; in the node's configuration overlays = 0; in Python heatmaps=False), "
                "or use another"
            )
        return replace(settings, heatmaps=True)

    def provenance(self, settings: Settings) -> Provenance:
        """Return what results with these settings are based on."""
        manifest, mode = self._manifest, settings.fitted_mode
        point = manifest.operating_points[settings.operating_point]
        return Provenance(
            model=self.identity,
            name=f"{manifest.name} {manifest.version}",
            bundle_sha256=self.bundle_sha256,
            device=self.device,
            precision=self.precision,
            gate=describe_gate(manifest.gate(self.precision), mode, len(manifest.tta.variants)),
            settings=settings,
            labels=manifest.labels,
            thresholds=manifest.thresholds(settings.operating_point, mode),
            fitted_on=(point.single if mode == "single" else point.tta).fitted_on,
            calibrated_on=manifest.calibration.fitted_on,
            maps="" if manifest.maps is None else manifest.maps.method_name,
        )

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
        """Predict the findings of one image: `evaluate`, then `decide`.

        Parameters
        ----------
        source : path, bytes, ndarray of (H, W) uint8 or uint16, pydicom.Dataset, or decoded image
            A PNG, JPEG or DICOM file, its bytes, decoded grey levels (bright bone), or a DICOM data
            set with its pixels as they came.
        tta, adaptive, heatmaps, operating_point
            See `settings`.
        bits_stored : int
            For uint16 arrays: bits that carry the image, 8 to 16.

        Returns
        -------
        Result

        Raises
        ------
        InputError
            The image cannot be used; `code` states why.
        DeviceFailed
            The device was lost, or has too little memory.
        UnknownOperatingPoint, HeatmapUnavailable, ValueError
            See `settings`.
        """
        settings = self.settings(tta=tta, adaptive=adaptive, operating_point=operating_point, heatmaps=heatmaps)
        return self.decide(self.evaluate(source, settings, bits_stored=bits_stored), settings)

    def predict_iter(
        self,
        sources: Iterable[Source],
        *,
        tta: bool | None = None,
        adaptive: bool = False,
        heatmaps: bool = False,
        operating_point: str | None = None,
        bits_stored: int = 16,
    ) -> Iterator[Result | InputFailure]:
        """Predict the findings of many images, one result at a time.

        An image that cannot be used yields an `InputFailure`, and the others go on. All cores work at the same
        time, each on an image of its own; at most a few images per core are held in memory.

        Parameters
        ----------
        sources : iterable
            As for `predict`; read as results are taken.
        tta, adaptive, heatmaps, operating_point, bits_stored
            As for `predict`, the same for all.

        Yields
        ------
        Result or InputFailure
            In the order of the sources; both have ``ok``.

        Raises
        ------
        TypeError
            `sources` is one path or one file's bytes.
        """
        if isinstance(sources, str | bytes | os.PathLike):
            raise TypeError(f"expected several sources, got {sources!r:.80}; call predict, or put it into a list")
        settings = self.settings(tta=tta, adaptive=adaptive, operating_point=operating_point, heatmaps=heatmaps)

        def attempt(source: Source) -> Result | InputFailure:
            try:
                return self.decide(self.evaluate(source, settings, bits_stored=bits_stored), settings)
            except (InputError, DeviceFailed) as error:
                return failure_of(source, error)

        return map_in_order(attempt, sources, usable_cores())

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
        """Predict the findings of many images; return the results of `predict_iter` as a list."""
        return list(
            self.predict_iter(
                sources,
                tta=tta,
                adaptive=adaptive,
                heatmaps=heatmaps,
                operating_point=operating_point,
                bits_stored=bits_stored,
            )
        )

    def evaluate(
        self, source: Source, settings: Settings, *, bits_stored: int = 16, path: str | None = None
    ) -> Evaluation:
        """Compute the network's outputs for an image; nothing is decided yet.

        Parameters
        ----------
        source
            As for `predict`.
        settings : Settings
        bits_stored : int
            As for `predict`.
        path : str, optional
            The path that the result reports; the source, if that is a path.

        Returns
        -------
        Evaluation
            Of the variants that the settings need; with ``adaptive`` only those that were needed.

        Raises
        ------
        InputError, DeviceFailed
        """
        image = decoded(source, bits_stored, self.limits)
        if path is None and isinstance(source, str | os.PathLike):
            path = os.fspath(source)
        return self._evaluate_image(image, path, settings)

    def decide(self, evaluation: Evaluation, settings: Settings) -> Result:
        """Decide on the findings of an image: average, calibrate, threshold, drop, sort.

        Pure: it needs no device. An evaluation with all variants and heat maps can be decided on with any settings.

        Raises
        ------
        ValueError
            The evaluation lacks a variant or the heat maps that the settings need.
        """
        return decide.decide(evaluation, self._manifest, self._identity, settings)

    def _evaluate_image(self, image: images.DecodedImage, path: str | None, settings: Settings) -> Evaluation:
        manifest, stated = self._manifest, self._stated(image)
        shown = {how: preprocess(image.pixels, how.size, how.fit) for how in self._inputs}
        size: tuple[int, int] = image.pixels.shape
        rule, checks = manifest.out_of_distribution, manifest.header_checks
        wanted = rule is not None or (checks is not None and stated is not None and checks.need_features(stated))

        def run(variants: Sequence[TtaVariant]) -> Evaluation:
            outputs, features = self._run(shown, variants, heatmaps=settings.heatmaps, features=wanted)
            outputs = [one.in_frame_of(size) for one in outputs]
            contradictions = () if checks is None or stated is None else tuple(checks.warnings(stated, features))
            return Evaluation(
                tuple(variants),
                probabilities=merge_probabilities(outputs, manifest.label_names),
                maps=None if manifest.maps is None else merge_maps(outputs, manifest.label_names, manifest.maps.grid),
                ood_score=None if rule is None or features is None else rule.score(features),
                size=size,
                sha256=image.sha256,
                path=path,
                warnings=image.warnings + contradictions,
            )

        if settings.tta_mode != "adaptive":
            return run(manifest.tta.variants[:1] if settings.tta_mode == "single" else manifest.tta.variants)
        first = run(decide.first_variants(manifest, settings))
        if decide.exits_early(first, manifest, settings):
            return first
        return first.joined(run(decide.rest_variants(manifest, settings)))

    def _stated(self, image: images.DecodedImage) -> "Stated | None":
        """Return what the header states, where the bundle has checks for it; refuse an age with ``strict``."""
        checks = self._manifest.header_checks
        stated = None if checks is None else image.stated
        if checks is not None and stated is not None and self.limits.strict:
            checks.refuse_age(stated)
        return stated

    def _run(
        self,
        shown: Mapping[InputFormat, npt.NDArray[np.uint8]],
        variants: Sequence[TtaVariant],
        *,
        heatmaps: bool,
        features: bool,
    ) -> tuple[list[Outputs], npt.NDArray[np.float64] | None]:
        """Compute the outputs of all networks, and the first one's features of the unchanged image."""
        outputs, of_unchanged = [], None
        for number, opened in enumerate(self._graphs.get().networks):
            batch = make_variants(shown[opened.described.input], variants)
            exposed = features and number == 0 and IDENTITY in variants
            computed, found = opened.run(batch, heatmaps=heatmaps, features=exposed)
            outputs.append(computed)
            if found is not None:
                of_unchanged = features_of(found[list(variants).index(IDENTITY)])
        return outputs, of_unchanged


def failure_of(source: Source, error: InputError | DeviceFailed) -> InputFailure:
    """Return the failure that takes the place of an image's result."""
    path = printable_path(os.fspath(source)) if isinstance(source, str | os.PathLike) else None
    return InputFailure(path, error.code, str(error))


def decoded(source: Source, bits_stored: int, limits: InputLimits) -> images.DecodedImage:
    """Decode a source of any kind.

    Raises
    ------
    InputError
    """
    if isinstance(source, images.DecodedImage):
        return source
    if isinstance(source, np.ndarray):
        return images.from_array(source, bits_stored, limits)
    if isinstance(source, bytes):
        return images.decode(source, limits)
    if isinstance(source, str | os.PathLike):
        return images.read_image(source, limits)
    if (dataset := _pydicom_dataset()) and isinstance(source, dataset):
        return images.from_dataset(source, limits)
    raise InvalidArray(f"expected a path, bytes, a numpy array or a pydicom Dataset, got {type(source).__name__}")


def _pydicom_dataset() -> "type[Dataset] | None":
    """Return pydicom's class if the caller has imported it: a data set exists only then."""
    module = sys.modules.get("pydicom.dataset")
    return module.Dataset if module else None
