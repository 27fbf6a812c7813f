"""Predictions of a Keras model on films, by view."""

from collections.abc import Sequence

import keras
import numpy as np
import numpy.typing as npt

from cxr_edge.views import View, make_views


def predict_views(
    network: keras.Model, films: npt.NDArray[np.uint8], views: Sequence[View], batch: int = 16
) -> npt.NDArray[np.float32]:
    """Predict every view of every film.

    Parameters
    ----------
    network : keras.Model
        As `training.network.build_network` describes it.
    films : ndarray, (N, H, W) uint8
        Pre-processed.
    views : sequence of View
    batch : int
        Films at a time.

    Returns
    -------
    ndarray, (N, len(views), 15) float32
        Raw probabilities.
    """
    predicted = []
    for start in range(0, len(films), batch):
        shown = np.concatenate([make_views(film, views) for film in films[start : start + batch]])
        predicted.append(np.asarray(network(shown[..., None].astype(np.float32), training=False)))
    return np.concatenate(predicted).reshape(len(films), len(views), -1)
