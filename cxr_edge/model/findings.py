"""From probabilities to findings: threshold, drop the improbable, sort."""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from cxr_edge.model.labels import Label
from cxr_edge.model.results import Finding


def make_findings(
    labels: Sequence[Label],
    probabilities: Sequence[float],
    per_variant: npt.NDArray[np.float32],
    thresholds: Mapping[str, float],
    min_probability: float,
) -> tuple[Finding, ...]:
    """Turn probabilities into findings.

    Parameters
    ----------
    labels : sequence of Label
    probabilities : sequence of float
        Calibrated, one per label.
    per_variant : ndarray, (variants, labels) float32
        Raw probabilities of each TTA variant.
    thresholds : mapping
        Finding → threshold.
    min_probability : float
        Findings below it are left out.

    Returns
    -------
    tuple of Finding
        By falling probability, ties in the order of `labels`; never a label of the role ``normal``.
    """
    stds = per_variant.std(axis=0, dtype=np.float64) if len(per_variant) > 1 else [None] * len(labels)
    findings = [
        Finding(
            label=label.name,
            probability=p,
            threshold=thresholds[label.name],
            positive=p >= thresholds[label.name],
            std=None if std is None else float(std),
        )
        for label, p, std in zip(labels, probabilities, stds, strict=True)
        if label.is_finding and p >= min_probability
    ]
    return tuple(sorted(findings, key=lambda finding: -finding.probability))
