"""The manifest: one typed, frozen object that says what a bundle's model takes, gives and means.

JSON is decoded by msgspec, which checks the types and names the key that is wrong; the rules
that tie keys together are checked here. Keys this version does not know are ignored for
inference and kept in `Manifest.source` for whoever writes the manifest on.
"""

import re
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from cxr_edge import errors
from cxr_edge.adaptive import Adaptive
from cxr_edge.calibration import Calibration, Curve
from cxr_edge.labels import NO_FINDING
from cxr_edge.out_of_distribution import OutOfDistribution
from cxr_edge.views import IDENTITY, View

FORMAT_MAJOR: Final = 1

#: Results tell 1 to 6 views.
MAX_VIEWS: Final = 6

#: What thresholds and calibration are fitted for.
ViewMode = Literal["single", "tta"]
#: What a result tells: ``adaptive`` is ``tta`` that stopped as soon as the decisions were clear.
Evaluated = Literal["single", "tta", "adaptive"]
#: Labels and names reach file names and terminals.
Name = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._-]{0,63}$")]
Side = Annotated[int, Meta(ge=1, le=4096)]
Threshold = Annotated[float, Meta(gt=0, le=1)]


class InputFormat(msgspec.Struct, frozen=True):
    """What the network's image input expects.

    Attributes
    ----------
    size : (int, int)
        Height and width in pixels.
    color, scaling, interpolation : str
        The only values this version knows are those of `cxr_edge.preprocess`.
    """

    size: tuple[Side, Side]
    color: Literal["grey"]
    scaling: Literal["0-255"]
    interpolation: Literal["area"]


class Thresholds(msgspec.Struct, frozen=True):
    """Decision thresholds on calibrated probabilities.

    Attributes
    ----------
    thresholds : dict
        One per label; a finding is positive at or above it.
    fitted_on : str
        The films they were fitted on.
    """

    thresholds: dict[str, Threshold]
    fitted_on: str


class OperatingPoint(msgspec.Struct, frozen=True, omit_defaults=True):
    """Thresholds by view mode: averaging views shifts the scores, so each mode has its own.

    Attributes
    ----------
    single, tta : Thresholds
    adaptive : Adaptive, optional
        When the first views decide as all of them would, by the thresholds of `tta`.
    """

    single: Thresholds
    tta: Thresholds
    adaptive: Adaptive | None = None


class Variant(msgspec.Struct, frozen=True):
    """One numeric precision of the two graphs.

    Attributes
    ----------
    model, gradcam : str
        File names within the bundle.
    precision : str
    gate : dict
        Figures of the parity gate it passed.
    """

    model: str
    gradcam: str
    precision: str
    gate: dict[str, Any]


class Tensors(msgspec.Struct, frozen=True):
    """Names of the graphs' inputs and outputs."""

    image: str
    probabilities: str
    logits: str
    last_conv: str
    maps: str


class FileEntry(msgspec.Struct, frozen=True):
    """Hash and length of one file of the bundle."""

    sha256: Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
    bytes: Annotated[int, Meta(ge=1, le=2**31)]


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """See the module; `source` is the manifest as decoded, unknown keys included."""

    format_version: str
    name: Name
    version: Name
    labels: Annotated[tuple[Name, ...], Meta(min_length=1, max_length=1000)]
    input: InputFormat
    views: Annotated[tuple[View, ...], Meta(min_length=1, max_length=MAX_VIEWS)]
    default_view_mode: ViewMode
    operating_points: dict[Name, OperatingPoint]
    default_operating_point: str
    calibration: Calibration
    min_probability: Annotated[float, Meta(ge=0, le=1)]
    variants: dict[str, Variant]
    default_variant: str
    tensors: Tensors
    tolerances: dict[str, float]
    training: dict[str, Any]
    files: dict[str, FileEntry]
    out_of_distribution: OutOfDistribution | None = None
    members: None = None
    view: None = None
    source: dict[str, Any] = {}

    def thresholds(self, operating_point: str, mode: ViewMode) -> dict[str, float]:
        """Give the thresholds of an operating point.

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

    def adaptive(self, operating_point: str) -> Adaptive:
        """Give the rule by which an operating point stops early.

        Raises
        ------
        UnknownOperatingPoint
            There is none, or it has no such rule.
        """
        self.thresholds(operating_point, "tta")
        if (rule := self.operating_points[operating_point].adaptive) is None:
            raise errors.UnknownOperatingPoint(
                f"the operating point {operating_point!r} of this bundle does not say when to stop early; leave "
                "adaptive out, or fit it anew with `python -m training calibrate` and export the bundle again"
            )
        return rule

    def variant(self, precision: str) -> Variant:
        """Give the variant of a precision.

        Raises
        ------
        UnknownPrecision
        """
        if precision not in self.variants:
            raise errors.UnknownPrecision(f"expected one of {', '.join(self.variants)}, got {precision!r}")
        return self.variants[precision]

    def gate(self, precision: str) -> dict[str, Any] | None:
        """Give the figures of the gate that a precision passed; None for one that a device makes by itself."""
        return self.variants[precision].gate if precision in self.variants else None

    def curves(self, mode: ViewMode) -> dict[str, Curve] | None:
        """Give the calibration curves of a view mode; None where raw probabilities are emitted."""
        return self.calibration.single if mode == "single" else self.calibration.tta


def parse_manifest(data: bytes) -> Manifest:
    """Decode and check a manifest.

    Raises
    ------
    BundleInvalid
        It is no JSON, lacks a key, or a value breaks its rule; the message names the key.
    BundleVersion
        Its major format version is another.
    """
    try:
        source = msgspec.json.decode(data, type=dict[str, Any])
    except (msgspec.MsgspecError, RecursionError) as error:
        raise errors.BundleInvalid(f"manifest.json is no JSON object: {error}") from error
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
        raise errors.BundleVersion(
            f"expected format version {FORMAT_MAJOR}.x, got {version}; "
            + ("update cxr-edge" if major > FORMAT_MAJOR else "this version no longer reads it")
        )


def _problems(manifest: Manifest) -> list[str]:
    return [
        *_label_problems(manifest),
        *_threshold_problems(manifest),
        *_calibration_problems(manifest),
        *_view_problems(manifest),
        *_file_problems(manifest),
    ]


def _label_problems(manifest: Manifest) -> list[str]:
    distinct = len(set(manifest.labels)) == len(manifest.labels)
    return [] if distinct else [f"expected distinct labels, got {list(manifest.labels)}"]


def _threshold_problems(manifest: Manifest) -> list[str]:
    problems = []
    if manifest.default_operating_point not in manifest.operating_points:
        problems.append(f"default_operating_point {manifest.default_operating_point!r} is not among operating_points")
    for name, point in manifest.operating_points.items():
        for mode, fitted in (("single", point.single), ("tta", point.tta)):
            where = f"operating_points.{name}.{mode}"
            if missing := set(manifest.labels) - set(fitted.thresholds):
                problems.append(f"{where} lacks a threshold for {', '.join(sorted(missing))}")
            for label, value in fitted.thresholds.items():
                if label != NO_FINDING and value < manifest.min_probability:
                    problems.append(
                        f"{where}: the threshold of {label} ({value}) lies below min_probability "
                        f"({manifest.min_probability}), which would hide positive findings"
                    )
        if point.adaptive is not None:
            problems += _adaptive_problems(manifest, point.adaptive, f"operating_points.{name}.adaptive")
    return problems


def _adaptive_problems(manifest: Manifest, rule: Adaptive, where: str) -> list[str]:
    problems = []
    if missing := set(manifest.labels) - {NO_FINDING} - set(rule.margins):
        problems.append(f"{where} lacks a margin for {', '.join(sorted(missing))}")
    if foreign := set(rule.margins) - set(manifest.labels):
        problems.append(f"{where} has margins for {', '.join(sorted(foreign))}, which are not among the labels")
    if len(set(rule.first)) < len(rule.first) or max(rule.first) >= len(manifest.views):
        problems.append(f"{where}: expected distinct positions below {len(manifest.views)} in first, got {rule.first}")
    return problems


def _calibration_problems(manifest: Manifest) -> list[str]:
    problems = []
    for mode, curves in (("single", manifest.calibration.single), ("tta", manifest.calibration.tta)):
        if (curves is None) != (manifest.calibration.method == "identity"):
            problems.append(f"calibration: expected curves for {mode} with the method 'platt', and only there")
        elif curves is not None and (missing := set(manifest.labels) - set(curves)):
            problems.append(f"calibration.{mode} lacks a curve for {', '.join(sorted(missing))}")
    return problems


def _view_problems(manifest: Manifest) -> list[str]:
    problems = []
    if manifest.views[0] != IDENTITY:
        problems.append("views: expected the unchanged film (flip false, brightness 1.0) first")
    if any(not 0 < view.brightness <= 10 for view in manifest.views):
        problems.append("views: expected brightness factors above 0 and at most 10")
    return problems


def _file_problems(manifest: Manifest) -> list[str]:
    problems = [
        f"files: {name!r} is not a plain file name"
        for name in manifest.files
        if name in {"", ".", ".."} or set(name) & set("/\\:\0")
    ]
    if manifest.default_variant not in manifest.variants:
        problems.append(f"default_variant {manifest.default_variant!r} is not among variants")
    for key, variant in manifest.variants.items():
        for file in (variant.model, variant.gradcam):
            if file not in manifest.files:
                problems.append(f"variants.{key} names {file!r}, which is not among files")
    return problems
