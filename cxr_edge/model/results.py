"""Results, typed and frozen: every report is made from them."""

from dataclasses import dataclass, field
from typing import Any, ClassVar, Final, Literal

import numpy as np
import numpy.typing as npt
from msgspec import UNSET

from cxr_edge import errors
from cxr_edge.model.heatmaps import upsample
from cxr_edge.model.labels import Label
from cxr_edge.model.record import CodedError, FailureRecord, FindingRecord, ResultRecord, to_dict
from cxr_edge.model.settings import TtaMode
from cxr_edge.support.warnings import CodedWarning

NOTICE: Final = "Research tool, not a medical device: not for diagnosis."


@dataclass(frozen=True)
class Finding:
    """One finding with its probability.

    Attributes
    ----------
    label : str
    probability : float
        Calibrated, averaged over the TTA variants.
    threshold : float
        Threshold of the operating point in use.
    positive : bool
        ``probability >= threshold``.
    std : float or None
        Standard deviation (population) of the raw probability over the variants; None with one.
    """

    label: str
    probability: float
    threshold: float
    positive: bool
    std: float | None

    def record(self) -> FindingRecord:
        """Return the finding as it is in a line of ``predictions.jsonl``."""
        return FindingRecord(self.label, self.probability, self.threshold, self.positive, self.std)


@dataclass(frozen=True, eq=False)
class Result:
    """The model's result for one image. A research result, not a diagnosis.

    Attributes
    ----------
    path : str or None
        None for arrays and bytes.
    sha256 : str or None
        Hash of the file's bytes; None for arrays.
    model : str
        Identity of the bundle.
    tta_mode : str
        ``single``, ``tta`` or ``adaptive``.
    variants : int
        Number of TTA variants evaluated.
    labels : tuple of Label
    values : tuple of float
        Calibrated probability of each label, in the order of `labels`.
    findings : tuple of Finding
        Labels of the role ``finding`` only, by falling probability, down to the manifest's ``min_probability``.
    warnings : tuple of CodedWarning
    size : (int, int)
        Height and width of the image, upright.
    maps : ndarray, (labels, y, x) float32, or None
        Class activation maps in the image's frame, not normalised; None if not asked for.
    ood_score : float or None
        Out-of-distribution score, above 0 where the image is unlike the training images; None without a rule.
    improbable : tuple of Finding
        The other labels of the role ``finding``, below ``min_probability``: a record has only those that are drawn.
    members : tuple of str
        Names of the networks whose answers were averaged; empty where the model is no ensemble.
    """

    path: str | None
    sha256: str | None
    model: str
    tta_mode: TtaMode
    variants: int
    labels: tuple[Label, ...]
    values: tuple[float, ...]
    findings: tuple[Finding, ...]
    warnings: tuple[CodedWarning, ...]
    size: tuple[int, int]
    maps: npt.NDArray[np.float32] | None = field(repr=False)
    ood_score: float | None = None
    improbable: tuple[Finding, ...] = ()
    members: tuple[str, ...] = ()

    ok: ClassVar[Literal[True]] = True

    def __str__(self) -> str:
        """Return the positive findings, the doubts about the image, and `NOTICE`, in one line."""
        positive = [f"{f.label} {f.probability:.2f} (>= {f.threshold:.2f})" for f in self.findings if f.positive]
        found = ", ".join(positive) or "no finding above its threshold"
        doubts = "".join(f" Warning: {doubt}." for doubt in self.doubts)
        return f"{self.path or 'image'}: {found}.{doubts} {NOTICE}"

    @property
    def doubts(self) -> tuple[CodedWarning, ...]:
        """The warnings that the image may not be an upright frontal chest radiograph."""
        return tuple(warning for warning in self.warnings if warning.is_doubt)

    @property
    def probabilities(self) -> dict[str, float]:
        """Calibrated probability by name of the label, all labels."""
        return {label.name: value for label, value in zip(self.labels, self.values, strict=True)}

    def ranked(self) -> list[tuple[Label, float]]:
        """Return all labels of the role ``finding`` with their probability, the most probable first."""
        pairs = [(label, value) for label, value in zip(self.labels, self.values, strict=True) if label.is_finding]
        return sorted(pairs, key=lambda pair: -pair[1])

    def map_of(self, label: str) -> npt.NDArray[np.float32]:
        """Return a label's class activation map at the network's resolution.

        Returns
        -------
        ndarray, (y, x) float32, at least 0, not normalised

        Raises
        ------
        HeatmapNotComputed
        KeyError
            The model has no such label.
        """
        if self.maps is None:
            raise errors.HeatmapNotComputed("this result has no heat maps; call predict(..., heatmaps=True)")
        names = [known.name for known in self.labels]
        if label not in names:
            raise KeyError(f"expected one of {', '.join(names)}, got {label!r}")
        return np.asarray(self.maps[names.index(label)])

    def heatmap(self, label: str) -> npt.NDArray[np.float32]:
        """Return a label's heat map over the image.

        Parameters
        ----------
        label : str
            Any of the model's labels, whether among the findings or not.

        Returns
        -------
        ndarray, (H, W) float32
            0 to 1, in the input image's frame; all zero where nothing supports the finding.

        Raises
        ------
        HeatmapNotComputed
            The result was computed without heat maps.
        KeyError
            The model has no such label.
        """
        return upsample(self.map_of(label), self.size)

    def record(self) -> ResultRecord:
        """Return the result as a line of ``predictions.jsonl``."""
        return ResultRecord(
            path=self.path,
            sha256=self.sha256,
            model=self.model,
            tta_mode=self.tta_mode,
            variants=self.variants,
            probabilities=self.probabilities,
            findings=tuple(
                FindingRecord(f.label, f.probability, f.threshold, f.positive, f.std) for f in self.findings
            ),
            warnings=self.warnings,
            ood_score=self.ood_score,
            members=self.members or UNSET,
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the result as a line of ``predictions.jsonl``, ready for JSON."""
        return to_dict(self.record())


@dataclass(frozen=True)
class InputFailure:
    """One input that could not be used.

    Attributes
    ----------
    path : str or None
    code : str
        Stable; see `cxr_edge.errors`.
    message : str
    """

    path: str | None
    code: str
    message: str

    ok: ClassVar[Literal[False]] = False

    def record(self) -> FailureRecord:
        """Return the failure as a line of ``predictions.jsonl``."""
        return FailureRecord(path=self.path, error=CodedError(self.code, self.message))

    def to_dict(self) -> dict[str, Any]:
        """Return the failure as a line of ``predictions.jsonl``, ready for JSON."""
        return to_dict(self.record())
