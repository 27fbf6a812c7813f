"""Thresholds that the authors of a model publish, from a table."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import pandas as pd

from export.errors import ExportError
from training.labels import LabelSet

#: Of a finding without a threshold of its own.
DEFAULT: Final = 0.5


def read_thresholds(table: Path | None, labels: LabelSet) -> tuple[dict[str, float], str]:
    """Read the thresholds of all findings.

    Parameters
    ----------
    table : Path or None
        A CSV with the columns ``label`` and ``threshold``; without one, all are `DEFAULT`.
    labels : LabelSet

    Returns
    -------
    dict
        Finding → threshold.
    str
        What they come from, for the manifest.

    Raises
    ------
    ExportError
        A column is missing, a label is unknown or stands twice, or a threshold is not above 0 and at most 1.
    """
    if table is None:
        return dict.fromkeys(labels.findings, DEFAULT), f"no images: {DEFAULT} for all"
    read = pd.read_csv(table, dtype={"label": str})
    if not {"label", "threshold"} <= set(read):
        raise ExportError(
            f"{table}: expected the columns label and threshold, separated by a comma, got {', '.join(map(str, read))}"
        )
    if strange := set(read["label"]) - set(labels.names):
        raise ExportError(f"{table}: expected labels of the model, got {', '.join(sorted(map(str, strange)))}")
    if (twice := read["label"].duplicated()).any():
        raise ExportError(f"{table}: {read['label'][twice].iloc[0]} stands in it twice; expected one row a label")
    values = pd.to_numeric(read["threshold"], errors="coerce")
    if not (valid := values.between(0, 1, inclusive="right")).all():
        wrong = ", ".join(f"{row.label}: {row.threshold}" for row in read[~valid].itertuples())
        raise ExportError(f"{table}: expected thresholds above 0 and at most 1, got {wrong}")
    given = dict(zip(read["label"], values.astype(float), strict=True))
    return with_default(given, labels, f"{table.name}, as published")


def with_default(given: Mapping[str, float], labels: LabelSet, source: str) -> tuple[dict[str, float], str]:
    """Return thresholds of all findings, `DEFAULT` where none is given, and what they come from."""
    without = [finding for finding in labels.findings if finding not in given]
    rest = f"; {DEFAULT} for {', '.join(without)}" if without else ""
    return {finding: given.get(finding, DEFAULT) for finding in labels.findings}, f"{source}{rest}"
