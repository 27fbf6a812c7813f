"""The settings of an evaluation and a decision: checked once, then passed on as one object."""

from dataclasses import dataclass
from typing import Literal

#: What thresholds and calibration are fitted for: averaging TTA variants shifts the scores.
FittedMode = Literal["single", "tta"]
#: What is evaluated: ``adaptive`` is ``tta`` that stops as soon as the decisions are clear.
TtaMode = Literal["single", "tta", "adaptive"]


@dataclass(frozen=True)
class Settings:
    """How images are evaluated and decided on. Made, and checked against the bundle, by `Model.settings`.

    Attributes
    ----------
    tta_mode : str
        ``single``, ``tta`` or ``adaptive``.
    operating_point : str
        The set of thresholds.
    heatmaps : bool
        Compute the heat maps of all labels.
    """

    tta_mode: TtaMode
    operating_point: str
    heatmaps: bool = False

    @property
    def fitted_mode(self) -> FittedMode:
        """What the thresholds and the calibration in use were fitted for."""
        return "single" if self.tta_mode == "single" else "tta"
