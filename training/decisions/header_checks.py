"""Header checks, fitted: linear rules that recognise view and sex in the features, and the range of ages."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.linear_model import LogisticRegression

from cxr_edge.model.header_checks import AgeRange, HeaderChecks, HeaderRule
from training.decisions.out_of_distribution import LEAST_SPREAD, share_of

Features = npt.NDArray[np.float64]

#: What a rule compares → its two values, as a DICOM header states them, and as the column of a table has them.
VALUES: Final[Mapping[str, tuple[str, str]]] = {"view": ("PA", "AP"), "sex": ("F", "M")}
#: Share of the validation images of each value that may be warned of, at most.
FALSE_ALARMS: Final = 0.02
#: Inverse strength of the L2 penalty: of 1e-4 to 1e-1 the strongest that catches nearly as many as any, with the limits
#: placed on one half of the validation patients and the other half counted.
PENALTY: Final = 1e-2
#: Percentiles of the training patients' ages that the range runs between: tables have impossible ages.
AGES: Final = (0.5, 99.5)
#: No patient is older, whatever a table states.
OLDEST: Final = 120
#: Images of each value that a rule is fitted on, and its limits are placed by, at least.
LEAST_IMAGES: Final = 50


def fit_checks(
    train: pd.DataFrame, features: Features, validation: pd.DataFrame, features_of_validation: Features
) -> HeaderChecks:
    """Fit all checks that a table has values for.

    Parameters
    ----------
    train, validation : DataFrame
        With view, sex and age, where known.
    features, features_of_validation : ndarray, (N, C) float64
        Of their images.
    """
    rules = {
        name: fit_rule(name, train[name], features, validation[name], features_of_validation)
        for name in VALUES
        if all((table[name] == value).sum() >= LEAST_IMAGES for table in (train, validation) for value in VALUES[name])
    }
    return HeaderChecks(age=fit_ages(train), **rules)


def fit_rule(
    name: str, stated: pd.Series, features: Features, of_validation: pd.Series, validation: Features
) -> HeaderRule:
    """Fit the rule of one attribute, and place its limits on validation images.

    Parameters
    ----------
    name : str
        A key of `VALUES`.
    stated, of_validation : Series of str
        What the tables state.
    features, validation : ndarray, (N, C) float64
    """
    first, second = VALUES[name]
    known = stated.isin(VALUES[name]).to_numpy()
    center, spread = features.mean(axis=0), features.std(axis=0) + LEAST_SPREAD
    fitted = LogisticRegression(C=PENALTY, max_iter=1000, class_weight="balanced")
    fitted.fit((features[known] - center) / spread, stated[known] == second)
    # Float32 features carry no more than six digits; full precision would triple the manifest.
    weights = tuple(float(f"{weight:.6g}") for weight in fitted.coef_[0] / spread)
    scores = validation @ np.asarray(weights)
    high = np.quantile(scores[(of_validation == first).to_numpy()], 1 - FALSE_ALARMS)
    low = np.quantile(scores[(of_validation == second).to_numpy()], FALSE_ALARMS)
    fitted_on = f"{known.sum()} training images, {(stated[known] == second).sum()} of them {second}"
    return HeaderRule((first, second), weights, (round(float(low), 4), round(float(high), 4)), FALSE_ALARMS, fitted_on)


def fit_ages(train: pd.DataFrame) -> AgeRange | None:
    """Return the range of the training patients' ages; None where the table has none."""
    ages = train["age"][train["age"].between(0, OLDEST)]
    if ages.empty:
        return None
    least, most = np.percentile(ages, AGES)
    return AgeRange(float(np.floor(least)), float(np.ceil(most)), f"{len(ages)} training images")


def count_contradictions(rule: HeaderRule, table: pd.DataFrame, name: str, features: Features) -> dict[str, Any]:
    """Count false alarms on headers as they are, and how many are caught with the other value in the header.

    Parameters
    ----------
    rule : HeaderRule
    table : DataFrame
        With ``patient``, and the attribute as the header states it.
    name : str
        A key of `VALUES`.
    features : ndarray, (N, C) float64

    Returns
    -------
    dict
        ``images``; ``false_alarms`` and ``caught``: see `training.decisions.out_of_distribution.share_of`.
    """
    stated = table[name]
    known = stated.isin(rule.values).to_numpy()
    scores = [rule.score(row) for row in features[known]]
    swapped = dict(zip(rule.values, reversed(rule.values), strict=True))
    truth, patients = stated[known], table["patient"].to_numpy()[known]

    def contradicted(values: Iterable[str]) -> list[bool]:
        return [rule.contradicts(value, score) for value, score in zip(values, scores, strict=True)]

    return {
        "images": int(known.sum()),
        "false_alarms": share_of(contradicted(truth), patients),
        "caught": share_of(contradicted(truth.map(swapped)), patients),
    }
