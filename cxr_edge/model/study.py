"""Studies: the results of images that were taken together, merged into one."""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, NamedTuple

import numpy as np

from cxr_edge.errors import DeviceFailed, FrontalView, InputError, LateralView, NotDicom
from cxr_edge.images import DecodedImage
from cxr_edge.images.limits import View
from cxr_edge.model.calibration import log_odds
from cxr_edge.model.model import Model, Source, decoded, failure_of
from cxr_edge.model.record import StudyImageRecord, StudyRecord, to_dict
from cxr_edge.model.results import NOTICE, Finding, InputFailure, Result
from cxr_edge.model.settings import Settings
from cxr_edge.support.parallel import map_in_order, usable_cores


@dataclass(frozen=True, eq=False)
class StudyImage:
    """One image of a study.

    Attributes
    ----------
    view : {'frontal', 'lateral'} or None
        By its header; None where it could not be read.
    result : Result or InputFailure
    """

    view: View | None
    result: Result | InputFailure


@dataclass(frozen=True, eq=False)
class StudyResult:
    """The result of one study. A research result, not a diagnosis.

    Attributes
    ----------
    study : str or None
        Its Study Instance UID; None for an image that names none, which stands alone.
    images : tuple of StudyImage
        In the order they came.
    probabilities : dict
        Label → merged probability; empty where no image has a result.
    findings : tuple of Finding
        By falling probability; `std` is None.
    """

    study: str | None
    images: tuple[StudyImage, ...]
    probabilities: dict[str, float]
    findings: tuple[Finding, ...]

    notice: ClassVar[str] = NOTICE

    @property
    def ok(self) -> bool:
        """Whether any image of it has a result."""
        return bool(self.probabilities)

    def record(self) -> StudyRecord:
        """Return the result as its JSON has it."""
        return StudyRecord(
            study=self.study,
            probabilities=self.probabilities,
            findings=tuple(finding.record() for finding in self.findings),
            images=tuple(StudyImageRecord(image.view, image.result.record()) for image in self.images),
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the result as one object, ready for JSON."""
        return to_dict(self.record())


def predict_study(
    models: Model | Sequence[Model],
    sources: Iterable[Source],
    *,
    tta: bool | None = None,
    operating_point: str | None = None,
) -> list[StudyResult]:
    """Predict the findings of studies: those of each image, merged by study.

    An image is evaluated by the first model of its view, or of any. The probability of a label is the mean of the
    log-odds over the images of a view, and then over the views: three frontal images weigh as much as one lateral one.
    Thresholds are those of the first model with the label; like the calibration they were fitted on single images.

    Parameters
    ----------
    models : Model or sequence of Model
        One for each view; see `Manifest.view`. Labels of the same name count as the same.
    sources : iterable
        DICOM files, their bytes, or pydicom data sets, of one or several studies in any order.
    tta, operating_point
        As for `Model.predict`.

    Returns
    -------
    list of StudyResult
        In the order of their first images.

    Raises
    ------
    UnknownOperatingPoint, ValueError
    """
    chosen = [models] if isinstance(models, Model) else list(models)
    if not chosen:
        raise ValueError("expected at least one model, got none")
    settings = [model.settings(tta=tta, operating_point=operating_point) for model in chosen]

    def attempt(source: Source) -> tuple[str | None, StudyImage]:
        study: str | None = None
        view: View | None = None
        try:
            study, view, image = _read(source, chosen[0])
            model = _model_of(view, chosen)
            path = os.fspath(source) if isinstance(source, str | os.PathLike) else None
            evaluation = model.evaluate(image, settings[chosen.index(model)], path=path)
            return study, StudyImage(view, model.decide(evaluation, settings[chosen.index(model)]))
        except (InputError, DeviceFailed) as error:
            return study, StudyImage(view, failure_of(source, error))

    studies: dict[str | int, list[StudyImage]] = {}
    for number, (study, image) in enumerate(map_in_order(attempt, sources, usable_cores())):
        studies.setdefault(number if study is None else study, []).append(image)
    limits: dict[str, FindingLimits] = {}
    for model, used in zip(chosen, settings, strict=True):
        limits = limits_of(model, used) | limits
    results = []
    for name, images in studies.items():
        merged = merge([(one.view, one.result.probabilities) for one in images if isinstance(one.result, Result)])
        findings = findings_of(merged, limits)
        results.append(StudyResult(name if isinstance(name, str) else None, tuple(images), merged, findings))
    return results


class FindingLimits(NamedTuple):
    """From which probability on a label is positive, and from which on it is reported at all."""

    threshold: float
    least: float


def limits_of(model: Model, settings: Settings) -> dict[str, FindingLimits]:
    """Return the limits of each label of the role ``finding``, as one model has them."""
    based_on, least = model.provenance(settings), model.manifest.min_probability
    return {
        label.name: FindingLimits(based_on.thresholds[label.name], least)
        for label in based_on.labels
        if label.is_finding
    }


def merge(images: Sequence[tuple[View | None, Mapping[str, float]]]) -> dict[str, float]:
    """Merge the probabilities of a study's images, given with their views; see `predict_study`.

    Returns
    -------
    dict
        Label → probability.
    """
    by_label: dict[str, dict[View | None, list[float]]] = {}
    for view, probabilities in images:
        for label, probability in probabilities.items():
            by_label.setdefault(label, {}).setdefault(view, []).append(probability)
    return {label: _merged(list(of_view.values())) for label, of_view in by_label.items()}


def findings_of(merged: Mapping[str, float], limits: Mapping[str, FindingLimits]) -> tuple[Finding, ...]:
    """Return the findings among merged probabilities that reach their limits, by falling probability."""
    findings = [
        Finding(label, merged[label], limit.threshold, merged[label] >= limit.threshold, None)
        for label, limit in limits.items()
        if label in merged and merged[label] >= limit.least
    ]
    return tuple(sorted(findings, key=lambda finding: -finding.probability))


def _merged(by_view: Sequence[Sequence[float]]) -> float:
    """Average log-odds within each view, and then over the views; a single probability stays exactly what it is."""
    if len(by_view) == len(by_view[0]) == 1:
        return by_view[0][0]
    means = [np.mean(log_odds(np.asarray(probabilities))) for probabilities in by_view]
    return float(1 / (1 + np.exp(-np.mean(means))))


def _read(source: Source, model: Model) -> tuple[str | None, View, DecodedImage]:
    """Decode an image, and return its study and view by its header.

    Raises
    ------
    InputError
    """
    image = decoded(source, 16, replace(model.limits, view=None))
    if image.header is None:
        raise NotDicom("expected a DICOM image, which names its study; call predict for others")
    from cxr_edge.images.dicom.header import tags
    from cxr_edge.images.dicom.header.chest import view_of

    return image.header.text(tags.STUDY_INSTANCE_UID) or None, view_of(image.header), image


def _model_of(view: View, models: Sequence[Model]) -> Model:
    """Return the first model of a view, or of any.

    Raises
    ------
    LateralView, FrontalView
        There is none.
    """
    for model in models:
        if model.limits.view in (view, None):
            return model
    known = " and ".join(sorted({str(model.limits.view) for model in models}))
    kind = LateralView if view == "lateral" else FrontalView
    raise kind(f"expected a {known} image by its header, got a {view} one; give a model of that view, too")
