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
        return mean_log_loss(truth, expit(_averaged(odds, has, softmax(x))))

    return np.asarray(softmax(minimize(loss, np.zeros(len(candidates))).x))


def _calibrated(
    candidates: Sequence[Candidate], fitted: pd.DataFrame, images: pd.DataFrame, labels: Sequence[str]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    """Return the log-odds of all TTA variants by each member's curves, (members, N, labels), and which labels it has.

    The curves are fitted on one part of the images, by their rows, and applied to another.
    """
    odds = np.zeros((len(candidates), len(images), len(labels)))
    has = np.zeros((len(candidates), len(labels)), bool)
    for place, candidate in enumerate(candidates):
        columns = [labels.index(label) for label in candidate.labels]
        truth = fitted[list(candidate.labels)].to_numpy(np.float64)
        mean = candidate.per_variant.mean(axis=1, dtype=np.float64)
        curves = platt_ridge(truth, mean[fitted.index], candidate.labels)
        odds[place][:, columns] = calibrated_log_odds(mean[images.index], curves, candidate.labels)
        has[place, columns] = True
    return odds, has


def _averaged(
    odds: npt.NDArray[np.float64], has: npt.NDArray[np.bool_], weights: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    shares = has * weights[:, None]
    return np.asarray(np.einsum("ml,mnl->nl", shares / shares.sum(axis=0), odds))


def gain_over_best(candidates: Sequence[Candidate], images: pd.DataFrame, labels: LabelSet) -> dict[str, Any]:
    """Compare the ensemble with its best member, on patients that neither weights nor curves were fitted on.

    An image is ranked against those of its own fold alone: log-odds by curves of different folds cannot be compared.
    """
    held_out = np.zeros((len(images), len(labels)))
    members = np.zeros((len(candidates), len(images), len(labels)))
    folds = np.zeros(len(images), int)
    for fold, (fitted, others) in enumerate(GroupKFold(FOLDS).split(images, groups=images["patient"])):
        one, two = images.iloc[fitted], images.iloc[others]
        weights = fit_weights(
            [_part(candidate, fitted) for candidate in candidates], one.reset_index(drop=True), labels
        )
        odds, has = _calibrated(candidates, one, two, labels.names)
        held_out[others], members[:, others], folds[others] = _averaged(odds, has, weights), odds, fold
    truth = images[list(labels.names)].to_numpy(np.float64)
    table = images.assign(collection=images["collection"] + "/" + folds.astype(str))
    means = [_mean_within(truth, members[i], table, has[i], labels) for i in range(len(candidates))]
    best = int(np.argmax(means))
    shared = [column for column in labels.finding_columns if has[best, column]]
    scores = (members[best][:, shared], held_out[:, shared])
    compared = paired(truth[:, shared], scores, table, [labels.names[column] for column in shared], Bootstrap())
    return {"best": candidates[best].name, "gain": compared["mean_within"]}


def _mean_within(
    truth: npt.NDArray[np.float64],
    odds: npt.NDArray[np.float64],
    table: pd.DataFrame,
    has: npt.NDArray[np.bool_],
    labels: LabelSet,
) -> float:
    """Return the mean ROC-AUC within collections of the findings that a member has."""
    own = [column for column in labels.finding_columns if has[column]]
    return auc_within(truth[:, own], odds[:, own], table["collection"].to_numpy())


def _part(candidate: Candidate, rows: npt.NDArray[np.int64]) -> Candidate:
    return Candidate(candidate.bundle, candidate.name, candidate.per_variant[rows])
