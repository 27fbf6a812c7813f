"""Another model's predictions on the same films, compared film by film."""

from dataclasses import dataclass
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


@dataclass(frozen=True)
class OtherPredictions:
    """Another model's predictions.

    Attributes
    ----------
    name : str
        Of their file.
    table : DataFrame
        One column per finding, by image name without suffix.
    """

    name: str
    table: pd.DataFrame


def read_predictions(file: Path) -> OtherPredictions:
    """Read predictions from a CSV: image, and one column per finding; findings it lacks are left out.

    Raises
    ------
    DataError
        No column ``image`` or no finding, or names that do not tell films apart.
    """
    table = pd.read_csv(file, dtype={"image": str})
    columns = [label for label in DISEASES if label in table]
    if "image" not in table or not columns:
        raise DataError(f"{file}: expected the columns image and findings as NIH spells them, got {list(table)}")
    return OtherPredictions(file.name, table.set_index(stems(table["image"], file.name).to_numpy())[columns])


def compare(
    truth: Floats, scores: Floats, table: pd.DataFrame, others: OtherPredictions, bootstrap: Bootstrap
) -> dict[str, Any] | None:
    """Compare on the films that both predict.

    Parameters
    ----------
    truth, scores : ndarray, (N, 15)
    table : DataFrame
        The same films' rows.
    others : OtherPredictions
    bootstrap : Bootstrap

    Returns
    -------
    dict or None
        ``with``, ``films``, ``patients``, ``findings_compared``, and ``figures`` as `paired` gives
        them, the other model first. None where no film is shared.
    """
    ours, by_stem = stems(table["image"], "the data set"), others.table
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
        "findings_compared": [label for label in by_stem if by_stem.loc[ours[shared], label].notna().any()],
        "figures": paired(told, theirs, scores[shared], patients, bootstrap),
    }
