"""Predictions of a Keras model on images, by TTA variant."""

from collections.abc import Sequence

import keras
import numpy as np
import numpy.typing as npt

from cxr_edge.model.tta import IDENTITY, TtaVariant, make_variants
from training.data.films import Films


def predict_variants(
    network: keras.Model, films: Films, variants: Sequence[TtaVariant] = (IDENTITY,), batch: int = 16
) -> npt.NDArray[np.float32]:
    """Predict every TTA variant of every image.

    Parameters
    ----------
    network : keras.Model
        As `training.network.architecture.build_network` describes it.
    films : Films, (N, H, W) uint8
        Pre-processed.
    variants : sequence of TtaVariant
    batch : int
        Films at a time.

    Returns
    -------
    ndarray, (N, len(variants), labels) float32
        Raw probabilities.
    """
    predicted = network.predict(_Variants(films, variants, batch), verbose=0)
    return np.asarray(predicted, np.float32).reshape(-1, len(variants), predicted.shape[-1])[: len(films)]


class _Variants(keras.utils.PyDataset):  # type: ignore[misc]
    """Variants in batches of one length, so that devices share them evenly; the last film fills up the last batch."""

    def __init__(self, films: Films, variants: Sequence[TtaVariant], batch: int) -> None:
        super().__init__()
        self._films, self._variants, self._batch = films, variants, batch

    def __len__(self) -> int:
        return -(-len(self._films) // self._batch)

    def __getitem__(self, index: int) -> tuple[npt.NDArray[np.float32]]:
        last = len(self._films) - 1
        rows = range(index * self._batch, (index + 1) * self._batch)
        shown = np.concatenate([make_variants(self._films[min(row, last)], self._variants) for row in rows])
        return (shown[..., None].astype(np.float32),)
