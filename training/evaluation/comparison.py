"""Another model's predictions on the same images, compared image by image."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

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
        By image name without suffix; one column for each finding, in order, NaN where the file lacks it.
    """

    name: str
    table: pd.DataFrame


def read_predictions(file: Path, findings: Sequence[str]) -> OtherPredictions:
    """Read predictions from a CSV: image, and one column per finding; findings may be lacking.

    Raises
    ------
    DataError
        No column ``image`` or no finding, or names that are not unique.
    """
    table = pd.read_csv(file, dtype={"image": str})
    if "image" not in table or not set(findings) & set(table):
        raise DataError(f"{file}: expected the columns image and any of {', '.join(findings)}, got {list(table)}")
    by_stem = table.set_index(stems(table["image"], file.name).to_numpy()).reindex(columns=list(findings))
    return OtherPredictions(file.name, by_stem)


def compare(
    truth: Floats, scores: Floats, table: pd.DataFrame, others: OtherPredictions, bootstrap: Bootstrap
) -> dict[str, Any] | None:
    """Compare two models on the images that both predict.

    Parameters
    ----------
    truth, scores : ndarray, (N, findings)
    table : DataFrame
        The same images' rows.
    others : OtherPredictions
        Of the same findings, in the order of the columns.
    bootstrap : Bootstrap

    Returns
    -------
    dict or None
        ``with``, ``images``, ``patients``, ``findings_compared``, and ``figures`` as `paired` returns
        them, the other model first. None where no image is shared.
    """
    ours, by_stem = stems(table["image"], "the data set"), others.table
    shared = ours.isin(by_stem.index).to_numpy()
    if not shared.any():
        return None
    theirs_by_finding = by_stem.loc[ours[shared]]
    theirs = theirs_by_finding.to_numpy(np.float64)
    known = np.where(np.isnan(theirs), np.nan, truth[shared])
    compared = table[shared]
    return {
        "with": others.name,
        "images": int(shared.sum()),
        "patients": int(compared["patient"].nunique()),
        "findings_compared": [label for label, there in theirs_by_finding.notna().any().items() if there],
        "figures": paired(known, (theirs, scores[shared]), compared, list(by_stem), bootstrap),
    }
