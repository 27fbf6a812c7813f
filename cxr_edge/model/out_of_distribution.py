"""The out-of-distribution score: how unlike the training images an image is, by the network's own features.

The model returns probabilities for any image. A photograph, an ankle or a rotated radiograph differs
from frontal chest radiographs in the features that the network's head reads.
"""

from typing import Annotated, Any

import msgspec
import numpy as np
import numpy.typing as npt
from msgspec import Meta

from cxr_edge.support.warnings import CodedWarning


class OutOfDistribution(msgspec.Struct, frozen=True):
    """A linear rule on the features, fitted to separate training images from other images.

    Attributes
    ----------
    weights : tuple of float
        One for each channel of the last convolution.
    bias : float
        Chosen so that the share `false_alarms` of the validation images scores above 0.
    false_alarms : float
    fitted_on : str
        The training images, and the images that stood for all others.
    figures : dict
        Error rates on images of both kinds that the rule was not fitted on.
    """

    weights: Annotated[tuple[float, ...], Meta(min_length=1, max_length=65_536)]
    bias: float
    false_alarms: Annotated[float, Meta(gt=0, lt=1)]
    fitted_on: str
    figures: dict[str, Any] = {}

    def score(self, features: npt.NDArray[np.float64]) -> float:
        """Return the score of an image, in log-odds: above 0 where it is unlike the training images.

        Parameters
        ----------
        features : ndarray, (C,) float64
            See `features_of`.
        """
        return float(features @ np.asarray(self.weights)) + self.bias


def features_of(last_conv: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """Average the output of the last convolution, (h, w, C), over its positions, as the head does."""
    return np.asarray(last_conv.mean(axis=(0, 1), dtype=np.float64))


def warnings_of(score: float | None) -> tuple[CodedWarning, ...]:
    """Return the warning for a score above 0; empty for any other score, or None."""
    if score is None or score <= 0:
        return ()
    return (
        CodedWarning(
            "out_of_distribution",
            "the image is unlike the images the model was trained on (out-of-distribution score "
            f"{score:.1f}, above 0): its findings mean little",
        ),
    )
