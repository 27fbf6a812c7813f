"""Early exit: the remaining TTA variants are left out where they are not likely to change a decision."""

from collections.abc import Mapping, Sequence
from typing import Annotated

import msgspec
import numpy as np
import numpy.typing as npt
from msgspec import Meta

from cxr_edge.model.calibration import log_odds


class EarlyExit(msgspec.Struct, frozen=True):
    """The rule for when the first TTA variants are enough.

    They are enough where the calibrated probability of every finding, averaged over them, lies further from the
    finding's threshold for all variants than its margin, in log-odds. Otherwise all variants are evaluated.

    Attributes
    ----------
    first : tuple of int
        Positions among the manifest's TTA variants of those that are evaluated first.
    margins : dict
        One per finding: the remaining variants seldom move its log-odds further than this.
    fitted_on : str
        The images they were fitted on, and how.
    """

    first: Annotated[tuple[Annotated[int, Meta(ge=0)], ...], Meta(min_length=1)]
    margins: dict[str, Annotated[float, Meta(ge=0, le=100)]]
    fitted_on: str

    def decided(
        self, probabilities: npt.NDArray[np.float64], labels: Sequence[str], thresholds: Mapping[str, float]
    ) -> bool:
        """Return whether the first variants decide every finding.

        Parameters
        ----------
        probabilities : ndarray, (len(labels),) float64
            Calibrated, averaged over the first variants.
        labels : sequence of str
        thresholds : mapping
            Label → threshold of all variants.
        """
        by_label = dict(zip(labels, log_odds(probabilities).tolist(), strict=True))
        limits = log_odds(np.array([thresholds[label] for label in self.margins])).tolist()
        return all(
            abs(by_label[label] - limit) > margin
            for (label, margin), limit in zip(self.margins.items(), limits, strict=True)
        )
