"""Predictions of a Keras model on films, by view."""

from collections.abc import Sequence

import keras
import numpy as np
import numpy.typing as npt

from cxr_edge.manifest import ViewMode
from cxr_edge.views import IDENTITY, View, make_views
from training.films import Films


def predict_views(
    network: keras.Model, films: Films, views: Sequence[View] = (IDENTITY,), batch: int = 16
) -> npt.NDArray[np.float32]:
    """Predict every view of every film.

    Parameters
    ----------
    network : keras.Model
        As `training.network.build_network` describes it.
    films : Films, (N, H, W) uint8
        Pre-processed.
    views : sequence of View
    batch : int
        Films at a time.

    Returns
    -------
    ndarray, (N, len(views), 15) float32
        Raw probabilities.
    """
    predicted = network.predict(_Views(films, views, batch), verbose=0)
    return np.asarray(predicted, np.float32).reshape(-1, len(views), predicted.shape[-1])[: len(films)]


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


class _Views(keras.utils.PyDataset):  # type: ignore[misc]
    """Views in batches of one length, so that devices share them evenly; the last film fills up the last batch."""

    def __init__(self, films: Films, views: Sequence[View], batch: int) -> None:
        super().__init__()
        self._films, self._views, self._batch = films, views, batch

    def __len__(self) -> int:
        return -(-len(self._films) // self._batch)

    def __getitem__(self, index: int) -> tuple[npt.NDArray[np.float32]]:
        last = len(self._films) - 1
        rows = range(index * self._batch, (index + 1) * self._batch)
        shown = np.concatenate([make_views(self._films[min(row, last)], self._views) for row in rows])
        return (shown[..., None].astype(np.float32),)
