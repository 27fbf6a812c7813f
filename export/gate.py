"""The gate: what another runtime or precision changes in the answers, on real films, and what it may change.

Both sides answer through the SDK, one view and six, calibrated and thresholded as users get it.
"""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from rich.progress import track

from cxr_edge.backends import usable_cores
from cxr_edge.bundle import Bundle
from cxr_edge.calibration import calibrate
from cxr_edge.labels import DISEASES, LABELS
from cxr_edge.manifest import Manifest, ViewMode
from cxr_edge.model import Source
from cxr_edge.parallel import map_in_order
from cxr_edge.results import InputFailure, Result
from export.errors import ExportError
from export.maps import map_agreement
from training.evaluation.predictions import MODES, Scores, raw_model, sources
from training.evaluation.reliability import expected_calibration_error
from training.evaluation.resampling import Bootstrap, Floats, Rows
from training.metrics import mean_auc, mean_known


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
        Of any probability of any film, raw or calibrated.
    flips : float
        Share of film-findings whose call changes, all operating points of a view mode together.
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
    """What a runtime says of films.

    Attributes
    ----------
    raw, calibrated : dict
        View mode → (N, 15) float64.
    maps : ndarray, (N, 15, h, w) float32
        Averaged over the views.
    """

    raw: Scores
    calibrated: Scores
    maps: npt.NDArray[np.float32]


def answers(bundle: Bundle, runtime: Runtime, films: pd.DataFrame) -> Answers:
    """Let a runtime look at films, one view and six.

    Parameters
    ----------
    bundle : Bundle
    runtime : Runtime
    films : DataFrame
        With ``path``; or ``cache`` and ``row``.

    Raises
    ------
    ExportError
        A film cannot be read.
    cxr_edge.errors.CxrEdgeError
        The runtime cannot be had.
    """
    model = raw_model(bundle, runtime.device, runtime.precision)

    def look(film: Source) -> list[Result]:
        found = [*model.predict_batch([film], tta=False), *model.predict_batch([film], tta=True, heatmaps=True)]
        return [_readable(result) for result in found]

    shown: Any = sources(films, model.manifest.input.size[0])
    looks = list(track(map_in_order(look, shown, usable_cores()), str(runtime), total=len(films)))
    by_mode = dict(zip(MODES, zip(*looks, strict=True), strict=True))
    raw = {mode: np.array([result.values for result in results]) for mode, results in by_mode.items()}
    manifest = bundle.manifest
    return Answers(
        raw=raw,
        calibrated={mode: calibrate(p, manifest.curves(mode), manifest.labels) for mode, p in raw.items()},
        maps=np.stack([[result.map_of(label) for label in manifest.labels] for result in by_mode["tta"]]),
    )


def _readable(result: Result | InputFailure) -> Result:
    if isinstance(result, InputFailure):
        raise ExportError(f"{result.path or 'a film'} of the gate: {result.message}; mend it or leave it out")
    return result


def compare(
    manifest: Manifest, reference: Answers, candidate: Answers, films: pd.DataFrame, bootstrap: Bootstrap
) -> dict[str, Any]:
    """Measure what the candidate changes.

    Parameters
    ----------
    manifest : Manifest
    reference, candidate : Answers
        To the same films.
    films : DataFrame
        With the labels and ``patient``, where ROC-AUC and calibration are to be compared.
    bootstrap : Bootstrap

    Returns
    -------
    dict
        ``films``, ``patients``, ``view_modes`` and ``maps``, as the manifest keeps them.
    """
    labelled = films if set(LABELS) <= set(films) else None
    return {
        "films": len(films),
        "patients": None if labelled is None else int(labelled["patient"].nunique()),
        "view_modes": {
            mode: {
                "probability": _distance(reference.calibrated[mode], candidate.calibrated[mode]),
                "raw_probability": _distance(reference.raw[mode], candidate.raw[mode]),
                "flips": _flips(manifest, mode, reference.calibrated[mode], candidate.calibrated[mode]),
                **_changes(reference, candidate, mode, labelled, bootstrap),
            }
            for mode in MODES
        },
        "maps": map_agreement(reference.maps, candidate.maps),
    }


def over_limits(figures: dict[str, Any], limits: Limits) -> list[str]:
    """Tell every figure that is over its limit, or is no number; empty where the gate is passed."""
    found = [("1 - median correlation of maps", 1 - figures["maps"]["correlation_median"], limits.maps)]
    for mode, changes in figures["view_modes"].items():
        worst = float(np.max([changes[kind]["max"] for kind in ("probability", "raw_probability")]))  # NaN stays
        found.append((f"max |Δp|, {mode}", worst, limits.probability))
        if flips_count(figures, limits):
            found.append((f"flips, {mode}", changes["flips"]["all"], limits.flips))
        if changes["mean_auc"] is not None:
            found.append((f"|Δ mean AUC|, {mode}", abs(changes["mean_auc"]["value"]), limits.mean_auc))
    return [f"{what} {value:.2g}, limit {limit:g}" for what, value, limit in found if not value <= limit]


def flips_count(figures: dict[str, Any], limits: Limits) -> bool:
    """Tell whether there are films enough for the limit of flips: so many that it allows one."""
    return limits.flips == 0 or figures["films"] * len(DISEASES) * limits.flips >= 1


def verdict(figures: dict[str, Any], limits: Limits) -> dict[str, Any]:
    """Give the figures with the limits they were held against, and what is over them."""
    return {**figures, "limits": asdict(limits), "over_limits": over_limits(figures, limits)}


def _distance(first: Floats, second: Floats) -> dict[str, float]:
    distance = np.abs(second - first)
    return {"max": float(distance.max()), "p99": float(np.percentile(distance, 99))}


def _flips(manifest: Manifest, mode: ViewMode, first: Floats, second: Floats) -> dict[str, float]:
    """Give the share of film-findings whose call changes, over all operating points and at each."""
    flips = {}
    for name in manifest.operating_points:
        thresholds = manifest.thresholds(name, mode)
        limits = np.array([thresholds[label] for label in DISEASES])
        called = [scores[:, : len(DISEASES)] >= limits for scores in (first, second)]
        flips[name] = float((called[0] != called[1]).mean())
    return {"all": float(np.mean(list(flips.values()))), **flips}


def _changes(
    reference: Answers, candidate: Answers, mode: ViewMode, labelled: pd.DataFrame | None, bootstrap: Bootstrap
) -> dict[str, Any]:
    """Give the change of the mean ROC-AUC and of the mean calibration error, with paired 95 % intervals."""
    if labelled is None:
        return {"mean_auc": None, "calibration_error": None}
    truth = labelled[list(LABELS)].to_numpy(np.float64)

    def statistic(rows: Rows) -> Floats:
        told = truth[rows]
        aucs = [mean_auc(told, side.raw[mode][rows]) for side in (reference, candidate)]
        errors = [_calibration_error(told, side.calibrated[mode][rows]) for side in (reference, candidate)]
        return np.array([aucs[1] - aucs[0], errors[1] - errors[0]])

    auc, error = bootstrap.figures(statistic, labelled["patient"].to_numpy(), digits=6)
    return {"mean_auc": auc, "calibration_error": error}


def _calibration_error(truth: Floats, scores: Floats) -> float:
    known = ~np.isnan(truth)
    errors = [
        expected_calibration_error(truth[known[:, i], i], scores[known[:, i], i])
        for i in range(len(DISEASES))
        if known[:, i].any()
    ]
    return mean_known(np.array(errors))
