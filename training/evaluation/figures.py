"""Figures by finding: ranking, and the calls at a threshold."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from training.evaluation.metrics import Ranked
from training.evaluation.resampling import Bootstrap, Floats, Rows, frequent, mean_over

#: Of a comparison, in this order: over all findings, and over those of enough patients.
MEANS = ("mean", "mean_within", "mean_frequent", "mean_within_frequent")
AT_THRESHOLD = ("precision", "recall", "f1", "specificity")


def ranking(truth: Floats, scores: Floats, table: Any, findings: Sequence[str], bootstrap: Bootstrap) -> dict[str, Any]:
    """Measure how images are ranked.

    Parameters
    ----------
    truth, scores : ndarray, (N, findings)
        Truth is NaN where unknown.
    table : DataFrame
        With patient and collection.
    findings : sequence of str
        Names of the columns.
    bootstrap : Bootstrap

    Returns
    -------
    dict
        ``mean`` and ``findings`` by name, each with ``auc`` and ``average_precision``; the mean
        also with ``auc_within`` collections. ``mean_frequent``, where some findings are of few patients:
        the number of the other ``findings``, and their mean ``auc`` and ``auc_within``.
    """
    pooled, within = Ranked(truth, scores), Ranked(truth, scores, table["collection"].to_numpy())

    def by_finding(rows: Rows) -> Floats:
        return np.stack([pooled.aucs(rows), pooled.average_precisions(rows), within.aucs(rows)])

    patients = table["patient"].to_numpy()
    defined = ~np.isnan(by_finding(np.arange(len(truth))))
    often = defined & frequent(truth, patients)

    def statistic(rows: Rows) -> Floats:
        found = by_finding(rows)
        means = [mean_over(figures, known) for figures, known in zip(found, defined, strict=True)]
        of_frequent = [mean_over(found[row], often[row]) for row in (0, 2)]
        return np.concatenate([means, of_frequent, found[0], found[1]])

    mean_auc, mean_precision, mean_within, auc, within_often, *others = bootstrap.figures(statistic, patients)
    aucs, precisions = others[: len(findings)], others[len(findings) :]
    return {
        "mean": {"auc": mean_auc, "average_precision": mean_precision, "auc_within": mean_within},
        "mean_frequent": None
        if often[0].all()
        else {"findings": int(often[0].sum()), "auc": auc, "auc_within": within_often},
        "findings": {
            label: {"positive": int((truth[:, i] == 1).sum()), "auc": aucs[i], "average_precision": precisions[i]}
            for i, label in enumerate(findings)
        },
    }


def at_thresholds(
    truth: Floats, scores: Floats, thresholds: Mapping[str, float], table: Any, bootstrap: Bootstrap
) -> dict[str, Any]:
    """Measure the calls at thresholds: precision, recall, F1 and specificity.

    Parameters
    ----------
    truth, scores : ndarray, (N, findings)
    thresholds : mapping
        Finding → threshold, in the order of the columns.
    table : DataFrame
        With patient.
    bootstrap : Bootstrap

    Returns
    -------
    dict
        ``mean`` and ``findings`` by name; a finding also with its ``threshold``. A figure without
        a denominator is None, and left out of the mean.
    """
    findings = list(thresholds)
    limits = np.array(list(thresholds.values()))
    called = scores >= limits
    defined = ~np.isnan(_rates(truth, called))

    def statistic(rows: Rows) -> Floats:
        found = _rates(truth[rows], called[rows])
        means = [mean_over(figures, known) for figures, known in zip(found, defined, strict=True)]
        return np.concatenate([means, found.ravel()])

    found = bootstrap.figures(statistic, table["patient"].to_numpy())
    means, by_finding = found[: len(AT_THRESHOLD)], found[len(AT_THRESHOLD) :]
    return {
        "mean": dict(zip(AT_THRESHOLD, means, strict=True)),
        "findings": {
            label: {
                "threshold": float(limits[i]),
                **{name: by_finding[k * len(findings) + i] for k, name in enumerate(AT_THRESHOLD)},
            }
            for i, label in enumerate(findings)
        },
    }


def _rates(truth: Floats, called: npt.NDArray[np.bool_]) -> Floats:
    """Return the rates of each finding, (4, findings): precision, recall, F1, specificity."""
    positive, negative = truth == 1, truth == 0
    true_positive, false_positive = (positive & called).sum(axis=0), (negative & called).sum(axis=0)
    false_negative, true_negative = (positive & ~called).sum(axis=0), (negative & ~called).sum(axis=0)
    return np.stack(
        [
            _share(true_positive, true_positive + false_positive),
            _share(true_positive, true_positive + false_negative),
            _share(2 * true_positive, 2 * true_positive + false_positive + false_negative),
            _share(true_negative, true_negative + false_positive),
        ]
    )


def _share(part: npt.NDArray[Any], whole: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    return np.asarray(np.divide(part, whole, out=np.full(part.shape, np.nan), where=whole > 0))


def paired(
    truth: Floats, scores: tuple[Floats, Floats], table: Any, findings: Sequence[str], bootstrap: Bootstrap
) -> Any:
    """Compare how two models, or one on two versions of the images, rank the same images, resampled together.

    Parameters
    ----------
    truth : ndarray, (N, findings)
        NaN where unknown.
    scores : (ndarray, ndarray)
        Of the first model and of the second.
    table : DataFrame
        With patient and collection.
    findings : sequence of str
        Names of the columns.
    bootstrap : Bootstrap

    Returns
    -------
    dict
        ``mean`` and ``mean_within`` (collections) over the findings, ``mean_frequent`` and ``mean_within_frequent``
        over those of at least `LEAST_PATIENTS` patients, and each finding: the ROC-AUC as ``first``, ``second`` and
        ``difference`` (second minus first).
    """
    collections = table["collection"].to_numpy()
    models = [(Ranked(truth, scored), Ranked(truth, scored, collections)) for scored in scores]
    defined = [~np.isnan(ranked.aucs()) for ranked in models[0]]
    often = frequent(truth, table["patient"].to_numpy())

    def figures_of(model: tuple[Ranked, Ranked], rows: Rows) -> Floats:
        pooled, within = (ranked.aucs(rows) for ranked in model)
        means = [
            mean_over(figures, known & chosen)
            for chosen in (True, often)
            for figures, known in zip((pooled, within), defined, strict=True)
        ]
        return np.array([*pooled, *means])

    def statistic(rows: Rows) -> Floats:
        first, second = (figures_of(model, rows) for model in models)
        return np.concatenate([first, second, second - first])

    found = bootstrap.figures(statistic, table["patient"].to_numpy())
    names = (*findings, *MEANS)
    count = len(names)
    return {
        name: {"first": found[i], "second": found[count + i], "difference": found[2 * count + i]}
        for i, name in sorted(enumerate(names), key=lambda named: named[1] not in MEANS)
    }
