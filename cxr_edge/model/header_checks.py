"""Header checks: what a DICOM header states of view, sex and age, compared with the image and the training images.

View and sex are visible in a chest radiograph. Where the network's features contradict the header, the image may belong
to another patient. They are linear rules, as that of `cxr_edge.model.out_of_distribution` is.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any, Final

import msgspec
import numpy as np
import numpy.typing as npt
from msgspec import Meta

from cxr_edge.errors import AgeOutsideTraining
from cxr_edge.support.warnings import CodedWarning

if TYPE_CHECKING:
    from cxr_edge.images.dicom.header.stated import Stated

#: What a check compares → the code of its warning.
CODES: Final = {"view": "view_contradicts_header", "sex": "sex_contradicts_header", "age": "age_outside_training"}


class HeaderRule(msgspec.Struct, frozen=True):
    """A linear rule on the features that recognises one of two values.

    Attributes
    ----------
    values : (str, str)
        As the header states them. The score of an image rises towards the second.
    weights : tuple of float
        One for each channel of the features.
    limits : (float, float)
        Below the first, an image contradicts the second value; above the second, it contradicts the first.
    false_alarms : float
        Share of the validation images of each value that may be warned of.
    fitted_on : str
    figures : dict
        Error rates on images that the rule was not fitted on.
    """

    values: tuple[str, str]
    weights: Annotated[tuple[float, ...], Meta(min_length=1, max_length=65_536)]
    limits: tuple[float, float]
    false_alarms: Annotated[float, Meta(gt=0, lt=1)]
    fitted_on: str
    figures: dict[str, Any] = {}

    def score(self, features: npt.NDArray[np.float64]) -> float:
        """Return the score of an image's features, (C,) float64."""
        return float(features @ np.asarray(self.weights))

    def contradicts(self, stated: str | None, score: float) -> bool:
        """Return whether the score of an image speaks against what its header states."""
        low, high = self.limits
        return (stated == self.values[0] and score > high) or (stated == self.values[1] and score < low)


class AgeRange(msgspec.Struct, frozen=True):
    """Ages of the patients that the network was trained on, in years.

    Attributes
    ----------
    least, most : float
    fitted_on : str
    """

    least: Annotated[float, Meta(ge=0)]
    most: Annotated[float, Meta(gt=0, le=150)]
    fitted_on: str


class HeaderChecks(msgspec.Struct, frozen=True, omit_defaults=True):
    """The checks of a bundle; None for one that it lacks."""

    view: HeaderRule | None = None
    sex: HeaderRule | None = None
    age: AgeRange | None = None

    @property
    def rules(self) -> dict[str, HeaderRule]:
        """The rules on features, by what they compare."""
        return {name: rule for name, rule in (("view", self.view), ("sex", self.sex)) if rule is not None}

    def need_features(self, stated: "Stated") -> bool:
        """Return whether a rule can be applied: the header states what it compares."""
        return any(getattr(stated, name) is not None for name in self.rules)

    def warnings(self, stated: "Stated", features: npt.NDArray[np.float64] | None) -> Iterator[CodedWarning]:
        """Yield a warning for each contradiction; without values of the patient.

        Parameters
        ----------
        stated : Stated
        features : ndarray, (C,) float64, or None
            Of the unchanged image; see `cxr_edge.model.out_of_distribution.features_of`.
        """
        for name, rule in self.rules.items():
            if features is not None and rule.contradicts(getattr(stated, name), rule.score(features)):
                message = f"DICOM: the image contradicts the {name} in its header: is it the right patient's?"
                yield CodedWarning(CODES[name], message)
        if self.age is not None and self._is_outside(stated):
            yield CodedWarning(CODES["age"], f"DICOM: {self._outside(self.age)}: its findings mean little")

    def refuse_age(self, stated: "Stated") -> None:
        """Raise `AgeOutsideTraining` where the patient's age is outside the range."""
        if self.age is not None and self._is_outside(stated):
            raise AgeOutsideTraining(f"{self._outside(self.age)}; turn strict off to read it with a warning")

    def _is_outside(self, stated: "Stated") -> bool:
        return self.age is not None and stated.age is not None and not self.age.least <= stated.age <= self.age.most

    @staticmethod
    def _outside(age: AgeRange) -> str:
        return (
            "by the header the patient's age is outside that of the patients the model was trained on "
            f"({age.least:g} to {age.most:g} years)"
        )
