"""Predictions of a Keras model on films, by view."""

from collections.abc import Sequence

import keras
import numpy as np
import numpy.typing as npt

from cxr_edge.manifest import ViewMode
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


def scores_by_mode(per_view: npt.NDArray[np.float32]) -> dict[ViewMode, npt.NDArray[np.float64]]:
    """Give what each view mode emits: the first view's probabilities, and the mean over all views.

    Parameters
    ----------
    per_view : ndarray, (N, views, 15) float32
        Raw probabilities, the unchanged film first.

    Returns
    -------
    dict of ndarray, (N, 15) float64
    """
    return {"single": per_view[:, 0].astype(np.float64), "tta": per_view.mean(axis=1, dtype=np.float64)}
