"""Teachers: fitted networks whose answers to the images of a batch are mixed into its labels."""

from collections.abc import Sequence

import keras
import numpy as np
import numpy.typing as npt

from cxr_edge.model.preprocess import preprocess
from training.network.architecture import LOGITS, at_size
from training.network.initial_weights import load_network


class Teachers:
    """Several networks as one: the mean of their logits.

    A student that answers as they do on images varied anew each epoch (Hinton et al. 2015; Beyer et
    al. 2022) ranks images nearly as well as all of them together, at the cost of one network.

    Parameters
    ----------
    files : sequence of str
        ``.keras`` files of `training.network.architecture.build_network`.
    labels : int
        How many labels they predict.
    size : int
        Side in pixels of the images that they answer.

    Notes
    -----
    Create it outside a strategy that shares batches among devices: inside, each device would answer
    the whole batch.

    Raises
    ------
    DataError
        A file is missing, or holds no such network, or one of another number of labels.
    """

    def __init__(self, files: Sequence[str], labels: int, size: int) -> None:
        image = keras.Input((size, size, 1), name="image")
        logits = []
        for number, file in enumerate(files, 1):
            teacher = at_size(load_network(file, labels), size)
            teacher = keras.Model(teacher.input, teacher.get_layer(LOGITS).output, name=f"teacher_{number}")
            logits.append(teacher(image, training=False))
        mean = keras.layers.Average(dtype="float32")(logits) if len(logits) > 1 else logits[0]
        self._together = keras.Model(image, mean)
        self._size = size

    def logits(self, images: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Return the mean of their logits.

        Parameters
        ----------
        images : ndarray, (n, side, side, 1) float32
            Whole grey levels 0..255; those of another side are resized.

        Returns
        -------
        ndarray, (n, labels) float32
            Log-odds.
        """
        if images.shape[1] != self._size:
            images = np.stack(
                [preprocess(image[..., 0].astype(np.uint8), (self._size, self._size)) for image in images]
            )
            images = images[..., None].astype(np.float32)
        return np.asarray(self._together.predict_on_batch(images), np.float32)
