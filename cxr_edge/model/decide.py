"""From an evaluation to a result: average, calibrate, threshold, drop, sort. Pure: it needs no device."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from cxr_edge.model.calibration import calibrate
from cxr_edge.model.evaluation import Evaluation
from cxr_edge.model.findings import make_findings
from cxr_edge.model.manifest import Manifest
from cxr_edge.model.out_of_distribution import warnings_of
from cxr_edge.model.results import Result
from cxr_edge.model.settings import FittedMode, Settings
from cxr_edge.model.tta import TtaVariant


def decide(evaluation: Evaluation, manifest: Manifest, identity: str, settings: Settings) -> Result:
    """Decide on the findings of an image; see `Model.decide`."""
    used = evaluation.only(variants_used(evaluation, manifest, settings))
    if settings.heatmaps and used.maps is None:
        raise ValueError("expected an evaluation with heat maps, got one without; evaluate with heatmaps=True")
    values = tuple(calibrated(used, manifest, settings.fitted_mode).tolist())
    thresholds = manifest.thresholds(settings.operating_point, settings.fitted_mode)
    ranked = make_findings(manifest.labels, values, used.probabilities, thresholds, min_probability=0)
    reported = sum(finding.probability >= manifest.min_probability for finding in ranked)
    return Result(
        path=evaluation.path,
        sha256=evaluation.sha256,
        model=identity,
        tta_mode=settings.tta_mode,
        variants=len(used.variants),
        labels=manifest.labels,
        values=values,
        findings=ranked[:reported],
        improbable=ranked[reported:],
        warnings=evaluation.warnings + warnings_of(used.ood_score),
        size=evaluation.size,
        maps=used.average_maps() if settings.heatmaps else None,
        ood_score=used.ood_score,
        members=manifest.member_names,
    )


def variants_used(evaluation: Evaluation, manifest: Manifest, settings: Settings) -> Sequence[TtaVariant]:
    """Return the variants that a result is averaged over: with ``adaptive`` the first ones, where they are enough.

    An adaptive evaluation that stopped early holds no others. One that holds all of them is decided in the same way.
    """
    if settings.tta_mode == "single":
        return manifest.tta.variants[:1]
    if settings.tta_mode == "tta":
        return manifest.tta.variants
    first = first_variants(manifest, settings)
    if exits_early(evaluation.only(first), manifest, settings):
        return first
    return [*first, *rest_variants(manifest, settings)]


def exits_early(first: Evaluation, manifest: Manifest, settings: Settings) -> bool:
    """Return whether the first variants decide every finding."""
    rule = manifest.early_exit(settings.operating_point)
    thresholds = manifest.thresholds(settings.operating_point, "tta")
    return rule.decided(calibrated(first, manifest, "tta"), manifest.label_names, thresholds)


def first_variants(manifest: Manifest, settings: Settings) -> list[TtaVariant]:
    """Return the variants that are evaluated first with ``adaptive``."""
    return [manifest.tta.variants[index] for index in manifest.early_exit(settings.operating_point).first]


def rest_variants(manifest: Manifest, settings: Settings) -> list[TtaVariant]:
    """Return the variants that are evaluated where the first do not decide."""
    first = manifest.early_exit(settings.operating_point).first
    return [variant for index, variant in enumerate(manifest.tta.variants) if index not in first]


def calibrated(evaluation: Evaluation, manifest: Manifest, mode: FittedMode) -> npt.NDArray[np.float64]:
    """Average the raw probabilities over the variants and calibrate them, (labels,) float64."""
    return calibrate(evaluation.mean_probabilities(), manifest.curves(mode), manifest.label_names)
