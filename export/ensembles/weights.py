"""The weights of an ensemble, fitted on validation images, and what it gains over its best member on other patients."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.optimize import minimize
from scipy.special import expit, softmax
from sklearn.model_selection import GroupKFold

from cxr_edge.model.calibration import calibrated_log_odds
from export.ensembles.candidates import Candidate
from export.errors import ExportError
from training.decisions.calibration import FOLDS, mean_log_loss, platt_ridge
from training.evaluation.figures import paired
from training.evaluation.metrics import auc_within
from training.evaluation.resampling import Bootstrap
from training.labels import LabelSet


def fit_weights(candidates: Sequence[Candidate], images: pd.DataFrame, labels: LabelSet) -> npt.NDArray[np.float64]:
    """Fit the share of each member in the mean of the calibrated log-odds, by log loss over all labels.

    Returns
    -------
    ndarray, (members,) float64
        Above 0, with a sum of 1.
    """
    truth = images[list(labels.names)].to_numpy(np.float64)
    odds, has = _calibrated(candidates, images, images, labels.names)

    def loss(x: npt.NDArray[np.float64]) -> float:
        return mean_log_loss(truth, _answers(odds, has, softmax(x)))

    return np.asarray(softmax(minimize(loss, np.zeros(len(candidates))).x))


def _calibrated(
    candidates: Sequence[Candidate], fitted: pd.DataFrame, images: pd.DataFrame, labels: Sequence[str]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    """Return the log-odds by each member's curves, (members, N, variants, labels), and which labels it has.

    The curves are fitted to the first TTA variant of one part of the images, by their rows, and applied to every
    variant of another, as the ensemble does.
    """
    variants = candidates[0].per_variant.shape[1]
    odds = np.zeros((len(candidates), len(images), variants, len(labels)))
    has = np.zeros((len(candidates), len(labels)), bool)
    for place, candidate in enumerate(candidates):
        columns = [labels.index(label) for label in candidate.labels]
        truth, raw = fitted[list(candidate.labels)].to_numpy(np.float64), candidate.per_variant.astype(np.float64)
        curves = platt_ridge(truth, raw[fitted.index, 0], candidate.labels)
        odds[place][..., columns] = calibrated_log_odds(raw[images.index], curves, candidate.labels)
        has[place, columns] = True
    return odds, has


def _answers(
    odds: npt.NDArray[np.float64], has: npt.NDArray[np.bool_], weights: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Return the probabilities of an ensemble, (N, labels): of each variant by the mean log-odds, then their mean."""
    shares = has * weights[:, None]
    shares = np.divide(shares, shares.sum(axis=0), out=np.zeros_like(shares), where=shares.sum(axis=0) > 0)
    return np.asarray(expit(np.einsum("ml,mnvl->nvl", shares, odds)).mean(axis=1))


def gain_over_best(candidates: Sequence[Candidate], images: pd.DataFrame, labels: LabelSet) -> dict[str, Any]:
    """Compare the ensemble with its best member, on patients that neither weights nor curves were fitted on.

    An image is ranked against those of its own fold alone: log-odds by curves of different folds cannot be compared.
    Members rank by the number of findings that they have, and then by their mean ROC-AUC; a finding is compared with
    the first member that has it, where another has it too.

    Raises
    ------
    ExportError
        No two members have a finding in common.
    """
    held_out = np.zeros((len(images), len(labels)))
    members = np.zeros((len(candidates), len(images), len(labels)))
    has = np.zeros((len(candidates), len(labels)), bool)
    folds = np.zeros(len(images), int)
    alone = np.eye(len(candidates))
    for fold, (fitted, others) in enumerate(GroupKFold(FOLDS).split(images, groups=images["patient"])):
        one, two = images.iloc[fitted], images.iloc[others]
        weights = fit_weights(
            [_part(candidate, fitted) for candidate in candidates], one.reset_index(drop=True), labels
        )
        odds, has = _calibrated(candidates, one, two, labels.names)
        held_out[others], folds[others] = _answers(odds, has, weights), fold
        for place in range(len(candidates)):
            members[place, others] = _answers(odds, has, alone[place])
    truth = images[list(labels.names)].to_numpy(np.float64)
    table = images.assign(collection=images["collection"] + "/" + folds.astype(str))
    findings = [column for column in labels.finding_columns if has[:, column].sum() > 1]
    if not findings:
        raise ExportError("no two of the bundles have a finding in common: nothing would be averaged")
    means = [_mean_within(truth, members[i], table, has[i], labels) for i in range(len(candidates))]
    order = sorted(range(len(candidates)), key=lambda i: (-int(has[i, findings].sum()), -means[i]))
    first = np.stack([members[next(i for i in order if has[i, column]), :, column] for column in findings], axis=1)
    names = [labels.names[column] for column in findings]
    compared = paired(truth[:, findings], (first, held_out[:, findings]), table, names, Bootstrap())
    return {"best": candidates[order[0]].name, "gain": compared["mean_within"]}


def _mean_within(
    truth: npt.NDArray[np.float64],
    answers: npt.NDArray[np.float64],
    table: pd.DataFrame,
    has: npt.NDArray[np.bool_],
    labels: LabelSet,
) -> float:
    """Return the mean ROC-AUC within collections of the findings that a member has."""
    own = [column for column in labels.finding_columns if has[column]]
    return auc_within(truth[:, own], answers[:, own], table["collection"].to_numpy())


def _part(candidate: Candidate, rows: npt.NDArray[np.int64]) -> Candidate:
    return Candidate(candidate.bundle, candidate.name, candidate.per_variant[rows])
