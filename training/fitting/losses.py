"""Losses on logits: cross-entropy, focal, asymmetric; and the weights and priors that go into them."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
from keras import ops

from training.recipe import Loss

Tensor = Any

#: A prior's odds are kept within e**-6 and e**6.
LARGEST_PRIOR = 6.0


def make_loss(loss: Loss, targets: npt.NDArray[np.float32]) -> Callable[[Tensor, Tensor], Tensor]:
    """Make the function that a fit minimises.

    Parameters
    ----------
    loss : Loss
    targets : ndarray, (N, labels)
        Of the training part, for the class weights.

    Returns
    -------
    callable
        (targets, logits), both (batch, labels) → (batch,): the mean over labels.
    """
    terms = {"cross_entropy": _cross_entropy, "focal": _focal, "asymmetric": _asymmetric}[loss.name](loss)
    weights = class_weights(targets) if loss.class_weights else np.ones(targets.shape[1], np.float32)

    def weighted(truth: Tensor, logits: Tensor) -> Tensor:
        smoothed = truth * (1 - loss.label_smoothing) + loss.label_smoothing / 2
        return ops.mean(terms(smoothed, logits) * weights, axis=-1)

    return weighted


def class_weights(targets: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Weigh labels by the inverse of their frequency, with a mean of 1; an absent label counts as one image.

    Returns
    -------
    ndarray, (labels,) float32
    """
    inverse = 1 / np.maximum(targets.sum(axis=0), 1)
    return np.asarray(inverse / inverse.mean(), dtype=np.float32)


def collection_priors(
    targets: npt.NDArray[np.float32], collections: npt.NDArray[Any], strength: float
) -> npt.NDArray[np.float32]:
    """Return for each image the log-odds by which its collection's label frequencies differ from the overall ones.

    Added to the logits during the fit, they account for what the collection alone predicts of a
    label; the network learns the rest from the image, and is used without them. This is the bias
    product of Clark, Yatskar and Zettlemoyer 2019 ("Don't Take the Easy Way Out"), with a bias
    that is counted instead of learned.

    Parameters
    ----------
    targets : ndarray, (N, labels)
    collections : ndarray, (N,)
    strength : float
        Images of the overall frequencies added to each collection; 0: no prior at all.

    Returns
    -------
    ndarray, (N, labels) float32
    """
    priors = np.zeros_like(targets)
    if not strength:
        return priors
    overall = (targets.sum(axis=0) + 0.5) / (len(targets) + 1)  # half an image, so that no odds are infinite
    for collection in np.unique(collections):
        rows = collections == collection
        share = rows.mean()
        positive = targets[rows].sum(axis=0) + 0.5 * share
        frequency = (positive + strength * overall) / (rows.sum() + share + strength)
        priors[rows] = np.clip(_log_odds(frequency) - _log_odds(overall), -LARGEST_PRIOR, LARGEST_PRIOR)
    return priors


def _log_odds(frequency: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    return np.asarray(np.log(frequency / (1 - frequency)))


def _cross_entropy(_: Loss) -> Callable[[Tensor, Tensor], Tensor]:
    return lambda truth, logits: ops.binary_crossentropy(truth, logits, from_logits=True)


def _focal(loss: Loss) -> Callable[[Tensor, Tensor], Tensor]:
    """Return the focal loss of Lin et al. 2017. Keras ignores alpha unless ``apply_class_balancing`` is set."""
    focal = keras.losses.BinaryFocalCrossentropy(
        apply_class_balancing=True, alpha=loss.alpha, gamma=loss.gamma, from_logits=True, reduction=None
    )
    return lambda truth, logits: focal(truth[..., None], logits[..., None])


def _asymmetric(loss: Loss) -> Callable[[Tensor, Tensor], Tensor]:
    """Return the asymmetric loss (Ridnik et al. 2021): it focuses negatives more, and drops easy ones (p < margin)."""

    def terms(truth: Tensor, logits: Tensor) -> Tensor:
        p = ops.sigmoid(logits)
        shifted = ops.maximum(p - loss.margin, 0.0)
        positive = _focus(1 - p, loss.gamma_positive) * ops.log_sigmoid(logits)
        negative = _focus(shifted, loss.gamma_negative) * ops.log(ops.maximum(1 - shifted, 1e-7))
        return -(truth * positive + (1 - truth) * negative)

    return terms


def _focus(distance: Tensor, gamma: float) -> Tensor | float:
    """Raise to a power whose gradient at 0 is a number: that of 0 ** gamma below 1 is infinite, or 0 times that."""
    return ops.maximum(distance, 1e-7) ** gamma if gamma else 1.0
