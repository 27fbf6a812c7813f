"""Is a picture anything like the images the model was fitted on? A score from the network's own features.

The model answers whatever it is shown. What it makes of a photograph, an ankle or an image on its side
differs from what it makes of frontal chest radiographs, in the features that its head reads.
"""

from typing import Annotated, Any

import msgspec
import numpy as np
import numpy.typing as npt
from msgspec import Meta

from cxr_edge.support.warnings import CodedWarning


class OutOfDistribution(msgspec.Struct, frozen=True):
    """A linear rule on the features, fitted to tell training images from what is none.

    Attributes
    ----------
    weights : tuple of float
        One for each channel of the last convolution.
    bias : float
        Such that the share `false_alarms` of validation images scores above 0.
    false_alarms : float
    fitted_on : str
        The images, and what stood for everything else.
    figures : dict
        Error rates on images and pictures it was not fitted on.
    """

    weights: Annotated[tuple[float, ...], Meta(min_length=1, max_length=65_536)]
    bias: float
    false_alarms: Annotated[float, Meta(gt=0, lt=1)]
    fitted_on: str
    figures: dict[str, Any] = {}

    def score(self, features: npt.NDArray[np.float64]) -> float:
        """Score a picture, above 0 where it is unlike the images: log-odds, shifted by the choice of false alarms.

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
    """Return the warning of a score above 0; nothing else, or where there is none."""
    if score is None or score <= 0:
        return ()
    return (
        CodedWarning(
            "out_of_distribution",
            "the image is unlike the images the model was trained on (out-of-distribution score "
            f"{score:.1f}, above 0): its findings mean little",
        ),
    )
