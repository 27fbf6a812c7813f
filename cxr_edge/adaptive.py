"""Adaptive test-time augmentation: the remaining views are left out where they are not likely to change a decision."""

from collections.abc import Mapping, Sequence
from typing import Annotated

import msgspec
import numpy as np
import numpy.typing as npt
from msgspec import Meta

from cxr_edge.calibration import log_odds


class Adaptive(msgspec.Struct, frozen=True):
    """When the first views are enough.

    They are where the calibrated probability of every disease, averaged over them, lies further from the threshold of
    all views than that disease's margin, in log-odds. Otherwise all views are evaluated.

    Attributes
    ----------
    first : tuple of int
        Positions among the manifest's views of those that are evaluated first.
    margins : dict
        One per disease: how far the remaining views may move its log-odds and seldom move further.
    fitted_on : str
        The films they were fitted on, and how.
    """

    first: Annotated[tuple[Annotated[int, Meta(ge=0)], ...], Meta(min_length=1)]
    margins: dict[str, Annotated[float, Meta(ge=0, le=100)]]
    fitted_on: str

    def decided(
        self, probabilities: npt.NDArray[np.float64], labels: Sequence[str], thresholds: Mapping[str, float]
    ) -> bool:
        """Tell whether the first views decide every disease.

        Parameters
        ----------
        probabilities : ndarray, (len(labels),) float64
            Calibrated, averaged over the first views.
        labels : sequence of str
        thresholds : mapping
            Label → threshold of all views.
        """
        by_label = dict(zip(labels, log_odds(probabilities).tolist(), strict=True))
        limits = {label: float(log_odds(thresholds[label])) for label in self.margins}
        return all(abs(by_label[label] - limits[label]) > margin for label, margin in self.margins.items())
