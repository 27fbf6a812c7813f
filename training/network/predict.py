"""Predictions of a Keras model on images, by TTA variant."""

from collections.abc import Sequence

import keras
import numpy as np
import numpy.typing as npt

from cxr_edge.model.tta import IDENTITY, TtaVariant, make_variants
from training.data.images import Images


def predict_variants(
    network: keras.Model, images: Images, variants: Sequence[TtaVariant] = (IDENTITY,), batch: int = 16
) -> npt.NDArray[np.float32]:
    """Predict every TTA variant of every image.

    Parameters
    ----------
    network : keras.Model
        As `training.network.architecture.build_network` describes it.
    images : Images, (N, H, W) uint8
        Pre-processed.
    variants : sequence of TtaVariant
    batch : int
        Images at a time.

    Returns
    -------
    ndarray, (N, len(variants), labels) float32
        Raw probabilities.
    """
    predicted = network.predict(_Variants(images, variants, batch), verbose=0)
    return np.asarray(predicted, np.float32).reshape(-1, len(variants), predicted.shape[-1])[: len(images)]


class _Variants(keras.utils.PyDataset):  # type: ignore[misc]
    """Variants in batches of one length, so that devices share them evenly; the last image fills up the last batch."""

    def __init__(self, images: Images, variants: Sequence[TtaVariant], batch: int) -> None:
        super().__init__()
        self._images, self._variants, self._batch = images, variants, batch

    def __len__(self) -> int:
        return -(-len(self._images) // self._batch)

    def __getitem__(self, index: int) -> tuple[npt.NDArray[np.float32]]:
        last = len(self._images) - 1
        rows = range(index * self._batch, (index + 1) * self._batch)
        shown = np.concatenate([make_variants(self._images[min(row, last)], self._variants) for row in rows])
        return (shown[..., None].astype(np.float32),)
