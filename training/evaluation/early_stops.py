"""What stopping early changes: the decisions of adaptive views against those of all, and the views that it takes."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from rich.progress import track

from cxr_edge.backends import usable_cores
from cxr_edge.bundle import Bundle
from cxr_edge.labels import DISEASES, LABELS
from cxr_edge.model import Model, Source
from cxr_edge.parallel import map_in_order
from cxr_edge.results import Result
from training.evaluation.predictions import sources
from training.evaluation.resampling import Bootstrap, Floats, Rows

_DISEASES = [LABELS.index(disease) for disease in DISEASES]


def early_stops(
    bundle: Bundle, table: pd.DataFrame, calibrated: npt.NDArray[np.float64], bootstrap: Bootstrap
) -> dict[str, dict[str, Any]]:
    """Let a bundle look at films adaptively, at every operating point that says when to stop.

    Parameters
    ----------
    bundle : Bundle
    table : DataFrame
        Films that can be read: with ``path``; or ``cache`` and ``row``.
    calibrated : ndarray, (N, 15) float64
        What all views give.
    bootstrap : Bootstrap

    Returns
    -------
    dict
        Operating point → ``agreement``, the share of film-findings decided as by all views, and ``views``, their mean
        number for a film; each with its interval.
    """
    model = Model(bundle, "cpu")
    return {
        name: _compare(model, name, table, calibrated, bootstrap)
        for name, point in bundle.manifest.operating_points.items()
        if point.adaptive is not None
    }


def _compare(
    model: Model, name: str, table: pd.DataFrame, calibrated: npt.NDArray[np.float64], bootstrap: Bootstrap
) -> dict[str, Any]:
    def look(source: Source) -> Result:
        return model.predict(source, adaptive=True, operating_point=name)

    shown: Any = sources(table, model.manifest.input.size[0])
    found = map_in_order(look, shown, usable_cores())
    results = list(track(found, f"Adaptive, {name}", total=len(table)))
    thresholds = model.manifest.thresholds(name, "tta")
    limits = np.array([thresholds[label] for label in LABELS])
    adaptive = np.array([result.values for result in results]) >= limits
    agrees = (adaptive == (calibrated >= limits))[:, _DISEASES].mean(axis=1)
    views = np.array([result.views for result in results], np.float64)

    def statistic(rows: Rows) -> Floats:
        return np.array([agrees[rows].mean(), views[rows].mean()])

    agreement, mean_views = bootstrap.figures(statistic, table["patient"].to_numpy(), digits=5)
    return {"agreement": agreement, "views": mean_views, "of": len(model.manifest.views)}
