"""From probabilities to findings: threshold, drop the improbable, sort."""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from cxr_edge.labels import NO_FINDING
from cxr_edge.results import Finding


def make_findings(
    labels: Sequence[str],
    probabilities: Sequence[float],
    per_view: npt.NDArray[np.float32],
    thresholds: Mapping[str, float],
    min_probability: float,
) -> tuple[Finding, ...]:
    """Turn probabilities into findings.

    Parameters
    ----------
    labels : sequence of str
    probabilities : sequence of float
        Calibrated, one per label.
    per_view : ndarray, (views, labels) float32
        Raw probabilities of each view.
    thresholds : mapping
        Label → threshold.
    min_probability : float
        Diseases below it are left out.

    Returns
    -------
    tuple of Finding
        By falling probability, ties in the order of `labels`; never "No Finding".
    """
    stds = per_view.std(axis=0, dtype=np.float64) if len(per_view) > 1 else [None] * len(labels)
    findings = [
        Finding(
            label=label,
            probability=p,
            threshold=thresholds[label],
            positive=p >= thresholds[label],
            std=None if std is None else float(std),
        )
        for label, p, std in zip(labels, probabilities, stds, strict=True)
        if label != NO_FINDING and p >= min_probability
    ]
    return tuple(sorted(findings, key=lambda finding: -finding.probability))
