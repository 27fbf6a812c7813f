"""The manifest: one typed, frozen object that describes a bundle's model, its input and its outputs.

msgspec decodes the JSON, checks the types and names a wrong key. The rules that tie keys together
are checked here. Keys that this version does not know have no effect on inference; they are kept in
`Manifest.source`, for programs that write the manifest again.
"""

import re
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from cxr_edge import errors
from cxr_edge.model.calibration import Calibration, Curve
from cxr_edge.model.early_exit import EarlyExit
from cxr_edge.model.header_checks import HeaderChecks
from cxr_edge.model.labels import Label, Name, label_problems
from cxr_edge.model.network import InputFormat, Network, NetworkMaps, Side, Tensors, network_problems
from cxr_edge.model.out_of_distribution import OutOfDistribution
from cxr_edge.model.settings import FittedMode
from cxr_edge.model.tta import IDENTITY, TtaVariant

FORMAT_MAJOR: Final = 2

#: All variants of an image are one batch.
MAX_VARIANTS: Final = 64

#: Each costs as much as a model by itself.
MAX_MEMBERS: Final = 8

#: Methods of heat maps → their names in print.
MAP_METHODS: Final = {"layercam": "LayerCAM", "gradcam": "Grad-CAM", "fine": "LayerCAM and HiResCAM"}

Threshold = Annotated[float, Meta(gt=0, le=1)]


class Tta(msgspec.Struct, frozen=True):
    """Test-time augmentation.

    Attributes
    ----------
    variants : tuple of TtaVariant
        The unchanged image first: ``single`` is that one alone.
    default_mode : str
    """

    variants: Annotated[tuple[TtaVariant, ...], Meta(min_length=1, max_length=MAX_VARIANTS)]
    default_mode: FittedMode


class Thresholds(msgspec.Struct, frozen=True):
    """Decision thresholds on calibrated probabilities.

    Attributes
    ----------
    thresholds : dict
        One per finding, which is positive at or above it.
    fitted_on : str
        The images they were fitted on.
    """

    thresholds: dict[str, Threshold]
    fitted_on: str


class OperatingPoint(msgspec.Struct, frozen=True, omit_defaults=True):
    """Thresholds by TTA mode: averaging variants shifts the scores, so each mode has its own.

    Attributes
    ----------
    single, tta : Thresholds
    adaptive : EarlyExit, optional
        When the first variants decide as all of them would, by the thresholds of `tta`.
    """

    single: Thresholds
    tta: Thresholds
    adaptive: EarlyExit | None = None


class Variant(msgspec.Struct, frozen=True):
    """One numeric precision of the network.

    Attributes
    ----------
    model : str or None
        File name within the bundle; None where its members have graphs of their own.
    precision : str
    gate : dict
        Figures of the parity gate it passed.
    """

    model: str | None
    precision: str
    gate: dict[str, Any]


class Maps(msgspec.Struct, frozen=True):
    """How the network's heat maps are computed.

    Attributes
    ----------
    method : str
        ``layercam`` (Jiang et al. 2021), ``gradcam`` (Selvaraju et al. 2017), or ``fine``: LayerCAM with a third of
        HiResCAM (Draelos and Carin 2020) one stage before.
    graphs : dict
        Variant → file name of the companion graph that computes them from the features; empty where its members
        have companions of their own.
    grid : (int, int)
        Height and width of a map.
    features : str or None
        Name of the tensor that the companion reads; None: that of `Tensors`.
    """

    method: Literal["layercam", "gradcam", "fine"]
    graphs: dict[str, str]
    grid: tuple[Side, Side]
    features: str | None = None

    @property
    def method_name(self) -> str:
        """Name of the method in print."""
        return MAP_METHODS[self.method]


class FileEntry(msgspec.Struct, frozen=True):
    """Hash and length of one file of the bundle."""

    sha256: Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
    bytes: Annotated[int, Meta(ge=1, le=2**31)]


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """A bundle's manifest; `source` is the manifest as decoded, with unknown keys.

    With `members`, `input` is the largest one of theirs, and the features of the first are those of
    `out_of_distribution`.
    """

    format_version: str
    name: Name
    version: Name
    labels: Annotated[tuple[Label, ...], Meta(min_length=1, max_length=1000)]
    input: InputFormat
    tta: Tta
    operating_points: dict[Name, OperatingPoint]
    default_operating_point: str
    calibration: Calibration
    min_probability: Annotated[float, Meta(ge=0, le=1)]
    variants: dict[str, Variant]
    default_variant: str
    maps: Maps | None
    tensors: Tensors
    tolerances: dict[str, float]
    training: dict[str, Any]
    files: dict[str, FileEntry]
    out_of_distribution: OutOfDistribution | None = None
    members: Annotated[tuple[Network, ...], Meta(min_length=2, max_length=MAX_MEMBERS)] | None = None
    view: Literal["frontal", "lateral"] | None = None
    header_checks: HeaderChecks | None = None
    source: dict[str, Any] = {}

    @property
    def label_names(self) -> tuple[str, ...]:
        """Names of all labels, in the order of the network's outputs."""
        return tuple(label.name for label in self.labels)

    @property
    def finding_names(self) -> tuple[str, ...]:
        """Names of the labels that are findings, in the same order."""
        return tuple(label.name for label in self.labels if label.is_finding)

    def thresholds(self, operating_point: str, mode: FittedMode) -> dict[str, float]:
        """Return the thresholds of an operating point: finding → threshold.

        Raises
        ------
        UnknownOperatingPoint
        """
        if operating_point not in self.operating_points:
            raise errors.UnknownOperatingPoint(
                f"expected one of {', '.join(self.operating_points)}, got {operating_point!r}"
            )
        point = self.operating_points[operating_point]
        return (point.single if mode == "single" else point.tta).thresholds

    def early_exit(self, operating_point: str) -> EarlyExit:
        """Return the rule by which an operating point stops early.

        Raises
        ------
        UnknownOperatingPoint
            The bundle has no such operating point, or the operating point has no such rule.
        """
        self.thresholds(operating_point, "tta")
        if (rule := self.operating_points[operating_point].adaptive) is None:
            raise errors.UnknownOperatingPoint(
                f"the operating point {operating_point!r} of this bundle has no rule for when to stop early; leave "
                "adaptive out, or fit it anew with `python -m training calibrate` and export the bundle again"
            )
        return rule

    def variant(self, precision: str) -> Variant:
        """Return the variant of a precision.

        Raises
        ------
        UnknownPrecision
        """
        if precision not in self.variants:
            raise errors.UnknownPrecision(f"expected one of {', '.join(self.variants)}, got {precision!r}")
        return self.variants[precision]

    @property
    def member_names(self) -> tuple[str, ...]:
        """Names of the members; empty if the bundle is no ensemble."""
        return tuple(member.name for member in self.members or ())

    @property
    def networks(self) -> tuple[Network, ...]:
        """The members; the only network, if the bundle is no ensemble."""
        if self.members is not None:
            return self.members
        return (
            Network(
                name=self.name,
                labels=self.label_names,
                input=self.input,
                tensors=self.tensors,
                variants={name: variant.model for name, variant in self.variants.items() if variant.model is not None},
                maps=None if self.maps is None else NetworkMaps(self.maps.graphs, self.maps.grid, self.maps.features),
                weight=1.0,
                calibration=None,
            ),
        )

    def graph_files(self, precision: str) -> tuple[str, ...]:
        """Return the files of a precision's graphs: each network, followed by its companion where it has maps.

        Raises
        ------
        UnknownPrecision
        """
        self.variant(precision)
        return tuple(file for network in self.networks for file in network.files(precision))

    def gate(self, precision: str) -> dict[str, Any] | None:
        """Return the figures of the gate that a precision passed; None for one without a variant."""
        return self.variants[precision].gate if precision in self.variants else None

    def curves(self, mode: FittedMode) -> dict[str, Curve] | None:
        """Return the calibration curves of a TTA mode; None where raw probabilities are emitted."""
        return self.calibration.single if mode == "single" else self.calibration.tta


def parse_manifest(data: bytes) -> Manifest:
    """Decode and check a manifest.

    Raises
    ------
    BundleInvalid
        It is not JSON, lacks a key, or a value breaks its rule; the message names the key.
    BundleVersion
        The major format version is not `FORMAT_MAJOR`.
    """
    try:
        source = msgspec.json.decode(data, type=dict[str, Any])
    except (msgspec.MsgspecError, RecursionError) as error:
        raise errors.BundleInvalid(f"manifest.json is not a JSON object: {error}") from error
    _check_version(source)
    try:
        manifest = msgspec.convert({**source, "source": source}, Manifest)
    except msgspec.MsgspecError as error:
        raise errors.BundleInvalid(f"manifest.json: {error}") from error
    for problem in _problems(manifest):
        raise errors.BundleInvalid(f"manifest.json: {problem}")
    return manifest


def _check_version(source: dict[str, Any]) -> None:
    version = source.get("format_version")
    if not isinstance(version, str) or not (parts := re.fullmatch(r"(\d{1,4})\.\d{1,4}", version)):
        raise errors.BundleInvalid(f"manifest.json: expected format_version like '{FORMAT_MAJOR}.0', got {version!r}")
    if (major := int(parts[1])) != FORMAT_MAJOR:
        remedy = "update cxr-edge" if major > FORMAT_MAJOR else "export the model again with this version"
        raise errors.BundleVersion(f"expected format version {FORMAT_MAJOR}.x, got {version}; {remedy}")


def _problems(manifest: Manifest) -> list[str]:
    return [
        *label_problems(manifest.labels),
        *_threshold_problems(manifest),
        *_calibration_problems(manifest),
        *_tta_problems(manifest),
        *_member_problems(manifest),
        *_file_problems(manifest),
    ]


def _threshold_problems(manifest: Manifest) -> list[str]:
    problems = []
    if manifest.default_operating_point not in manifest.operating_points:
        problems.append(f"default_operating_point {manifest.default_operating_point!r} is not among operating_points")
    for name, point in manifest.operating_points.items():
        for mode, fitted in (("single", point.single), ("tta", point.tta)):
            where = f"operating_points.{name}.{mode}"
            findings = set(manifest.finding_names)
            if missing := findings - set(fitted.thresholds):
                problems.append(f"{where} lacks a threshold for {', '.join(sorted(missing))}")
            for label, value in fitted.thresholds.items():
                if label in findings and value < manifest.min_probability:
                    problems.append(
                        f"{where}: the threshold of {label} ({value}) lies below min_probability "
                        f"({manifest.min_probability}), which would hide positive findings"
                    )
        if point.adaptive is not None:
            problems += _adaptive_problems(manifest, point.adaptive, f"operating_points.{name}.adaptive")
    return problems


def _adaptive_problems(manifest: Manifest, rule: EarlyExit, where: str) -> list[str]:
    problems = []
    if missing := set(manifest.finding_names) - set(rule.margins):
        problems.append(f"{where} lacks a margin for {', '.join(sorted(missing))}")
    if foreign := set(rule.margins) - set(manifest.finding_names):
        problems.append(f"{where} has margins for {', '.join(sorted(foreign))}, which are not among the findings")
    if 0 not in rule.first:
        problems.append(f"{where}: expected the unchanged image (position 0) in first, got {rule.first}")
    if len(set(rule.first)) < len(rule.first) or max(rule.first) >= len(manifest.tta.variants):
        problems.append(
            f"{where}: expected distinct positions below {len(manifest.tta.variants)} in first, got {rule.first}"
        )
    return problems


def _calibration_problems(manifest: Manifest) -> list[str]:
    problems = []
    for mode, curves in (("single", manifest.calibration.single), ("tta", manifest.calibration.tta)):
        if (curves is None) != (manifest.calibration.method == "identity"):
            problems.append(f"calibration: expected curves for {mode} with the method 'platt', and only there")
        elif curves is not None and (missing := set(manifest.label_names) - set(curves)):
            problems.append(f"calibration.{mode} lacks a curve for {', '.join(sorted(missing))}")
    return problems


def _tta_problems(manifest: Manifest) -> list[str]:
    problems = []
    if manifest.tta.variants[0] != IDENTITY:
        problems.append("tta.variants: expected the unchanged image (flip false, brightness 1.0) first")
    if len(set(manifest.tta.variants)) < len(manifest.tta.variants):
        problems.append("tta.variants: expected distinct variants")
    if any(not 0 < variant.brightness <= 10 for variant in manifest.tta.variants):
        problems.append("tta.variants: expected brightness factors above 0 and at most 10")
    return problems


def _member_problems(manifest: Manifest) -> list[str]:
    if manifest.members is None:
        return [
            f"variants.{name}: expected model, the file of its graph" for name, variant in manifest.variants.items()
            if variant.model is None
        ]  # fmt: skip
    names = [member.name for member in manifest.members]
    problems = [] if len(set(names)) == len(names) else [f"members: expected distinct names, got {', '.join(names)}"]
    labels = set(manifest.label_names)
    for member in manifest.members:
        problems += network_problems(member, set(manifest.variants), labels)
    if unanswered := labels - {label for member in manifest.members for label in member.labels}:
        problems.append(f"members: none has the labels {', '.join(sorted(unanswered))}")
    if strays := [name for name, variant in manifest.variants.items() if variant.model is not None]:
        problems.append(f"variants: expected graphs at the members alone, got one at {', '.join(strays)}")
    if manifest.maps is not None and (manifest.maps.graphs or all(member.maps is None for member in manifest.members)):
        problems.append("maps: expected graphs at the members, and only there")
    mapped = {label for member in manifest.members if member.maps is not None for label in member.labels}
    if manifest.maps is not None and (empty := labels - mapped):
        problems.append(f"maps: no member with heat maps has {', '.join(sorted(empty))}, whose maps would be empty")
    return problems


def _file_problems(manifest: Manifest) -> list[str]:
    problems = [
        f"files: {name!r} is not a plain file name"
        for name in manifest.files
        if name in {"", ".", ".."} or set(name) & set("/\\:\0")
    ]
    if manifest.default_variant not in manifest.variants:
        problems.append(f"default_variant {manifest.default_variant!r} is not among variants")
    if manifest.members is None and manifest.maps is not None and set(manifest.maps.graphs) != set(manifest.variants):
        problems.append(
            f"maps.graphs: expected a graph for each of {', '.join(manifest.variants)}, "
            f"got {', '.join(manifest.maps.graphs) or 'none'}"
        )
    named: dict[str, str] = {}
    for network in manifest.networks:
        where = "" if manifest.members is None else f"members: {network.name}: "
        named |= {f"{where}variants.{key}": file for key, file in network.variants.items()}
        if network.maps is not None:
            named |= {f"{where}maps.graphs.{key}": file for key, file in network.maps.graphs.items()}
    missing = {key: file for key, file in named.items() if file not in manifest.files}
    return problems + [f"{key} names {file!r}, which is not among files" for key, file in missing.items()]
