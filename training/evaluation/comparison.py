"""Another model's predictions on the same films, compared film by film."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from cxr_edge.labels import DISEASES, LABELS
from training.errors import DataError
from training.evaluation.figures import paired
from training.evaluation.resampling import Bootstrap, Floats
from training.evaluation.stems import stems


def compare(
    truth: Floats, scores: Floats, table: pd.DataFrame, others: Path, bootstrap: Bootstrap
) -> dict[str, Any] | None:
    """Compare with predictions in a CSV: image, and one column per finding.

    Parameters
    ----------
    truth, scores : ndarray, (N, 15)
    table : DataFrame
        The same films' rows.
    others : Path
        Images are matched by name without suffix. Findings it lacks are left out.
    bootstrap : Bootstrap

    Returns
    -------
    dict or None
        ``with``, ``films``, ``patients``, ``findings_compared``, and ``figures`` as `paired` gives
        them, the other model first. None where no film is shared.

    Raises
    ------
    DataError
        No column ``image`` or no finding, or names that do not tell films apart.
    """
    predicted = pd.read_csv(others)
    columns = [label for label in DISEASES if label in predicted]
    if "image" not in predicted or not columns:
        raise DataError(f"{others}: expected the columns image and findings as NIH spells them, got {list(predicted)}")
    ours = stems(table["image"], "the data set")
    by_stem = predicted.set_index(stems(predicted["image"], others.name).to_numpy())
    shared = ours.isin(by_stem.index).to_numpy()
    if not shared.any():
        return None
    theirs = by_stem.reindex(columns=list(LABELS)).loc[ours[shared]].to_numpy(np.float64)
    told = np.where(np.isnan(theirs), np.nan, truth[shared])
    patients: npt.NDArray[Any] = table["patient"].to_numpy()[shared]
    return {
        "with": others.name,
        "films": int(shared.sum()),
        "patients": len(np.unique(patients)),
        "findings_compared": [label for label in columns if by_stem.loc[ours[shared], label].notna().any()],
        "figures": paired(told, theirs, scores[shared], patients, bootstrap),
    }
