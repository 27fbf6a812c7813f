"""From a film of any size to the network's input: the one pre-processing for all packages."""

import cv2
import numpy as np
import numpy.typing as npt


def preprocess(film: npt.NDArray[np.uint8], size: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """Resize a film to the network's input, without keeping the aspect ratio.

    Area averaging (``cv2.INTER_AREA``) weighs every source pixel, so a film shrunk five-fold
    does not alias; NIH made its own 1024x1024 films without keeping the aspect ratio either.

    Parameters
    ----------
    film : ndarray, (H, W) uint8
        8-bit grey levels, bright bone.
    size : (int, int)
        Height and width of the input in pixels.

    Returns
    -------
    ndarray, ``size`` uint8
    """
    height, width = size
    resized = cv2.resize(film, (width, height), interpolation=cv2.INTER_AREA)
    return np.asarray(resized, dtype=np.uint8)
