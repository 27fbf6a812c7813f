"""What comes out: typed, frozen results, the one source of every report."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from cxr_edge import errors
from cxr_edge.gradcam import upsample
from cxr_edge.manifest import Evaluated

NOTICE = "Research tool, not a medical device: not for diagnosis."


@dataclass(frozen=True)
class Finding:
    """One disease with its probability, at or above the manifest's ``min_probability``.

    Attributes
    ----------
    label : str
    probability : float
        Calibrated, averaged over the views.
    threshold : float
        Of the operating point in use.
    positive : bool
        ``probability >= threshold``.
    std : float or None
        Standard deviation (population) of the raw probability over the views; None with one.
    heatmap : str or None
        Overlay file relative to the results directory, where one was written.
    heatmap_empty : bool
        The overlay shows no colour because nothing in the film supports the finding.
    """

    label: str
    probability: float
    threshold: float
    positive: bool
    std: float | None
    heatmap: str | None = None
    heatmap_empty: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Give the finding as in a line of ``predictions.jsonl``."""
        line: dict[str, Any] = {
            "label": self.label,
            "probability": self.probability,
            "threshold": self.threshold,
            "positive": self.positive,
            "std": self.std,
            "heatmap": self.heatmap,
        }
        return {**line, "heatmap_empty": True} if self.heatmap_empty else line


@dataclass(frozen=True, eq=False)
class Result:
    """What the model says about one film. A research result, not a diagnosis.

    Attributes
    ----------
    path : str or None
        None for arrays and bytes.
    sha256 : str or None
        Hash of the file's bytes; None for arrays.
    model : str
        Identity of the bundle.
    view_mode : str
        ``single``, ``tta`` or ``adaptive``.
    views : int
        Number of views evaluated.
    labels : tuple of str
    values : tuple of float
        Calibrated probability of each label, in the order of `labels`.
    findings : tuple of Finding
        Diseases only, by falling probability.
    warnings : tuple of str
    size : (int, int)
        Height and width of the film, upright.
    maps : ndarray, (labels, h, w) float32, or None
        Class activation maps in the film's frame, not normalised; None if not asked for.
    dicom : tuple of str or None
        Files of the DICOM results, relative to their directory, where they were written; None if not asked for.
    cautions : tuple of str
        Those of the warnings that say that the film may be no frontal chest film, so that findings mean little.
    """

    path: str | None
    sha256: str | None
    model: str
    view_mode: Evaluated
    views: int
    labels: tuple[str, ...]
    values: tuple[float, ...]
    findings: tuple[Finding, ...]
    warnings: tuple[str, ...]
    size: tuple[int, int]
    maps: npt.NDArray[np.float32] | None = field(repr=False)
    dicom: tuple[str, ...] | None = None
    cautions: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Name the positive findings, why they may mean little, and what the result must not be used for."""
        positive = [f"{f.label} {f.probability:.2f} (>= {f.threshold:.2f})" for f in self.findings if f.positive]
        found = ", ".join(positive) or "no finding above its threshold"
        cautions = "".join(f" Caution: {caution}." for caution in self.cautions)
        return f"{self.path or 'film'}: {found}.{cautions} {NOTICE}"

    @property
    def probabilities(self) -> dict[str, float]:
        """Calibrated probability by label, all labels."""
        return dict(zip(self.labels, self.values, strict=True))

    def map_of(self, label: str) -> npt.NDArray[np.float32]:
        """Give a label's class activation map at the network's resolution.

        Returns
        -------
        ndarray, (h, w) float32, at least 0, not normalised

        Raises
        ------
        HeatmapNotComputed
        KeyError
            The model has no such label.
        """
        if self.maps is None:
            raise errors.HeatmapNotComputed("this result has no heat maps; call predict(..., heatmaps=True)")
        if label not in self.labels:
            raise KeyError(f"expected one of {', '.join(self.labels)}, got {label!r}")
        return np.asarray(self.maps[self.labels.index(label)])

    def heatmap(self, label: str) -> npt.NDArray[np.float32]:
        """Give a label's heat map over the film.

        Parameters
        ----------
        label : str
            Any of the model's labels, found or not.

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

    def to_dict(self) -> dict[str, Any]:
        """Give the result as a line of ``predictions.jsonl``, ready for JSON."""
        line = {
            "path": self.path,
            "sha256": self.sha256,
            "status": "ok",
            "model": self.model,
            "view_mode": self.view_mode,
            "views": self.views,
            "probabilities": self.probabilities,
            "findings": [finding.to_dict() for finding in self.findings],
            "warnings": list(self.warnings),
        }
        return line if self.dicom is None else {**line, "dicom": list(self.dicom)}


@dataclass(frozen=True)
class InputFailure:
    """One input that could not be used.

    Attributes
    ----------
    path : str or None
    code : str
        Stable, see `cxr_edge.errors`.
    message : str
    """

    path: str | None
    code: str
    message: str

    def to_dict(self) -> dict[str, Any]:
        """Give the failure as a line of ``predictions.jsonl``."""
        return {"path": self.path, "status": "error", "error": {"code": self.code, "message": self.message}}
