"""Figures by view position, sex, age, collection, stored side, and with or without blacked-out markers."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd

from training.data.nih import SIDE
from training.evaluation.metrics import Ranked
from training.evaluation.resampling import Bootstrap, Floats, Rows, mean_over

#: Lower bounds of the age groups, in years.
AGES = (0, 18, 40, 60, 80)


def groups_of(table: pd.DataFrame) -> dict[str, pd.Series]:
    """Return each image's group by every criterion."""
    ages = pd.cut(table["age"], [*AGES, 1000], right=False, labels=_age_names())
    return {
        "view": table["view"],
        "sex": table["sex"],
        "age": ages.astype(object),
        "collection": table["collection"],
        "side": _sides(table),
        "markers": table["markers_blacked"].map({True: "blacked out", False: "as they are"}),
    }


def _sides(table: pd.DataFrame) -> pd.Series:
    """Return the side of each image as stored, where it is known."""
    return table[SIDE].map("{:.0f} pixels".format, na_action="ignore")


def _age_names() -> list[str]:
    return [f"{low} to {high - 1}" for low, high in pairwise(AGES)] + [f"{AGES[-1]} and over"]


def by_subgroup(
    truth: Floats, scores: Floats, table: pd.DataFrame, findings: Sequence[str], bootstrap: Bootstrap
) -> dict[str, Any]:
    """Measure the ROC-AUC in every subgroup.

    Returns
    -------
    dict
        Criterion → group → ``images``, ``patients``, ``findings_measured`` (with both classes
        present), ``mean_auc`` over these, and ``findings``. Means over different findings cannot be compared.
    """
    patients = table["patient"].to_numpy()

    def figures_of(chosen: Any) -> dict[str, Any]:
        return _figures(truth[chosen], scores[chosen], patients[chosen], findings, bootstrap)

    figures: dict[str, Any] = {}
    for criterion, group_of in groups_of(table).items():
        names = sorted(group_of.dropna().unique())
        if len(names) > 1:
            figures[criterion] = {str(name): figures_of((group_of == name).to_numpy()) for name in names}
    return figures


def _figures(
    truth: Floats, scores: Floats, patients: Any, findings: Sequence[str], bootstrap: Bootstrap
) -> dict[str, Any]:
    ranked = Ranked(truth, scores)
    defined = ~np.isnan(ranked.aucs())

    def statistic(rows: Rows) -> Any:
        aucs = ranked.aucs(rows)
        return [*aucs, mean_over(aucs, defined)]

    *by_finding, mean = bootstrap.figures(statistic, patients)
    return {
        "images": len(truth),
        "patients": int(pd.Series(patients).nunique()),
        "findings_measured": sum(figure["value"] is not None for figure in by_finding),
        "mean_auc": mean,
        "findings": dict(zip(findings, by_finding, strict=True)),
    }
