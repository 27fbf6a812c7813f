"""The gate: what another runtime or precision changes in the answers, on real images, and what it may change.

Both sides answer through the SDK, by one TTA variant and by all, calibrated and thresholded as users get it.
"""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from cxr_edge.model.bundle import Bundle
from cxr_edge.model.manifest import Manifest
from cxr_edge.model.model import Model
from cxr_edge.model.settings import FittedMode
from export.errors import ExportError
from export.maps import map_agreement
from training.evaluation.metrics import Ranked, mean_known
from training.evaluation.predictions import MODES, Scores, predict_images
from training.evaluation.reliability import expected_calibration_error
from training.evaluation.resampling import Bootstrap, Floats, Rows
from training.labels import LabelSet


@dataclass(frozen=True)
class Runtime:
    """Where and in what precision a bundle is run; written ``device:precision``."""

    device: str
    precision: str

    def __str__(self) -> str:
        return f"{self.device}:{self.precision}"


@dataclass(frozen=True)
class Limits:
    """The most that may change.

    Attributes
    ----------
    probability : float
        Of any probability of any image, raw or calibrated.
    flips : float
        Share of image-findings whose call changes, all operating points of a TTA mode together.
    mean_auc : float
        Of the mean ROC-AUC, up or down.
    maps : float
        Of the median correlation of heat maps, from 1 down.
    """

    probability: float
    flips: float
    mean_auc: float
    maps: float


#: By the candidate's precision. Eight bits move single probabilities far, so there the decisions count.
LIMITS = {
    "fp32": Limits(probability=0.001, flips=0.001, mean_auc=0.0005, maps=0.001),
    "fp16": Limits(probability=0.01, flips=0.002, mean_auc=0.0005, maps=0.001),
    "bf16": Limits(probability=0.01, flips=0.002, mean_auc=0.0005, maps=0.001),
    "int8": Limits(probability=1.0, flips=0.02, mean_auc=0.002, maps=0.01),
}


@dataclass(frozen=True)
class Answers:
    """What a runtime answers to images.

    Attributes
    ----------
    raw, calibrated : dict
        TTA mode → (N, labels) float64.
    maps : ndarray, (N, labels, h, w) float32, or None
        Averaged over the TTA variants.
    """

    raw: Scores
    calibrated: Scores
    maps: npt.NDArray[np.float32] | None


def answers(bundle: Bundle, runtime: Runtime, images: pd.DataFrame) -> Answers:
    """Run a runtime on images, by all TTA variants, each computed once.

    Parameters
    ----------
    bundle : Bundle
    runtime : Runtime
    images : DataFrame
        With ``image``, and ``path``; or ``cache`` and ``row``.

    Raises
    ------
    ExportError
        An image cannot be read.
    cxr_edge.errors.CxrEdgeError
        The runtime is not available.
    """
    model, has_maps = Model(bundle, runtime.device, runtime.precision), bundle.manifest.maps is not None
    found = predict_images(model, images, np.full(len(images), has_maps))
    for failure in found.unreadable:
        raise ExportError(f"the gate cannot use {failure['image']}: {failure['message']}; mend it or leave it out")
    maps = [evaluation.average_maps() for evaluation in found.evaluations]
    return Answers(
        found.raw, found.calibrated, np.stack([one for one in maps if one is not None]) if has_maps else None
    )


def compare(
    manifest: Manifest, reference: Answers, candidate: Answers, images: pd.DataFrame, bootstrap: Bootstrap
) -> dict[str, Any]:
    """Measure what the candidate changes.

    Parameters
    ----------
    manifest : Manifest
    reference, candidate : Answers
        To the same images.
    images : DataFrame
        With the labels and ``patient``, where ROC-AUC and calibration are to be compared.
    bootstrap : Bootstrap

    Returns
    -------
    dict
        ``images``, ``findings``, ``patients``, ``tta_modes`` and ``maps``, as the manifest keeps them.
    """
    labels = LabelSet.of(manifest.labels)
    labelled = images if set(labels.names) <= set(images) else None
    return {
        "images": len(images),
        "findings": len(labels.findings),
        "patients": None if labelled is None else int(labelled["patient"].nunique()),
        "tta_modes": {
            mode: {
                "probability": _distance(reference.calibrated[mode], candidate.calibrated[mode]),
                "raw_probability": _distance(reference.raw[mode], candidate.raw[mode]),
                "flips": _flips(manifest, mode, reference.calibrated[mode], candidate.calibrated[mode]),
                **_changes((reference, candidate), mode, labels, labelled, bootstrap),
            }
            for mode in MODES
        },
        "maps": _map_agreement(reference, candidate),
    }


def over_limits(figures: dict[str, Any], limits: Limits) -> list[str]:
    """List the figures that are over their limit, or not a number; an empty list means that the gate is passed."""
    found = []
    if figures["maps"] is not None:
        found.append(("1 - median correlation of maps", 1 - figures["maps"]["correlation_median"], limits.maps))
    for mode, changes in figures["tta_modes"].items():
        worst = float(np.max([changes[kind]["max"] for kind in ("probability", "raw_probability")]))  # NaN stays
        found.append((f"max |Δp|, {mode}", worst, limits.probability))
        if flips_count(figures, limits):
            found.append((f"flips, {mode}", changes["flips"]["all"], limits.flips))
        if changes["mean_auc"] is not None:
            found.append((f"|Δ mean AUC|, {mode}", abs(changes["mean_auc"]["value"]), limits.mean_auc))
    return [f"{what} {value:.2g}, limit {limit:g}" for what, value, limit in found if not value <= limit]


def flips_count(figures: dict[str, Any], limits: Limits) -> bool:
    """Return whether there are enough images for the limit of flips: so many that it allows one."""
    return limits.flips == 0 or figures["images"] * figures["findings"] * limits.flips >= 1


def verdict(figures: dict[str, Any], limits: Limits) -> dict[str, Any]:
    """Return the figures with the limits they were compared with, and what is over them."""
    return {**figures, "limits": asdict(limits), "over_limits": over_limits(figures, limits)}


def _distance(first: Floats, second: Floats) -> dict[str, float]:
    distance = np.abs(second - first)
    return {"max": float(distance.max()), "p99": float(np.percentile(distance, 99))}


def _map_agreement(reference: Answers, candidate: Answers) -> dict[str, float] | None:
    if reference.maps is None or candidate.maps is None:
        return None
    return map_agreement(reference.maps, candidate.maps)


def _flips(manifest: Manifest, mode: FittedMode, first: Floats, second: Floats) -> dict[str, float]:
    """Return the share of image-findings whose call changes, over all operating points and at each."""
    labels, flips = LabelSet.of(manifest.labels), {}
    for name in manifest.operating_points:
        thresholds = manifest.thresholds(name, mode)
        limits = np.array([thresholds[label] for label in labels.findings])
        called = [scores[:, labels.finding_columns] >= limits for scores in (first, second)]
        flips[name] = float((called[0] != called[1]).mean())
    return {"all": float(np.mean(list(flips.values()))), **flips}


def _changes(
    sides: tuple[Answers, Answers],
    mode: FittedMode,
    labels: LabelSet,
    labelled: pd.DataFrame | None,
    bootstrap: Bootstrap,
) -> dict[str, Any]:
    """Return the change of the mean ROC-AUC and of the mean calibration error, with paired 95 % intervals."""
    if labelled is None:
        return {"mean_auc": None, "calibration_error": None}
    truth, columns = labelled[list(labels.findings)].to_numpy(np.float64), labels.finding_columns
    raw = [side.raw[mode][:, columns] for side in sides]
    calibrated = [side.calibrated[mode][:, columns] for side in sides]

    ranked = [Ranked(truth, scores) for scores in raw]

    def statistic(rows: Rows) -> Floats:
        aucs = [mean_known(of_side.aucs(rows)) for of_side in ranked]
        errors = [_calibration_error(truth[rows], scores[rows]) for scores in calibrated]
        return np.array([aucs[1] - aucs[0], errors[1] - errors[0]])

    auc, error = bootstrap.figures(statistic, labelled["patient"].to_numpy(), digits=6)
    return {"mean_auc": auc, "calibration_error": error}


def _calibration_error(truth: Floats, scores: Floats) -> float:
    known = ~np.isnan(truth)
    errors = [
        expected_calibration_error(truth[known[:, i], i], scores[known[:, i], i])
        for i in range(truth.shape[1])
        if known[:, i].any()
    ]
    return mean_known(np.array(errors))
