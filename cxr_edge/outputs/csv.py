"""Results as CSV, for spreadsheets."""

import csv
import io
from collections.abc import Iterable, Sequence
from typing import Any

from cxr_edge.model.record import FailureRecord, Record


def csv_text(records: Iterable[Record], labels: Sequence[str]) -> str:
    """Return records as CSV: one row per input, one column per label.

    ``positive`` lists the positive findings, by falling probability, separated by ``|``.

    Parameters
    ----------
    records : iterable of Record
    labels : sequence of str
        Names of the model's labels.
    """
    buffer = io.StringIO(newline="")
    columns = ["path", "sha256", "status", "error_code", "error_message", "model", "tta_mode", "variants", "positive"]
    writer = csv.DictWriter(buffer, [*columns, *labels, "warnings"], restval="")
    writer.writeheader()
    writer.writerows(map(_row, records))
    return buffer.getvalue()


def _row(record: Record) -> dict[str, Any]:
    if isinstance(record, FailureRecord):
        error = record.error
        return {"path": record.path, "status": "error", "error_code": error.code, "error_message": error.message}
    return {
        **{key: getattr(record, key) for key in ("path", "sha256", "model", "tta_mode", "variants")},
        "status": "ok",
        "positive": "|".join(finding.label for finding in record.positive),
        **record.probabilities,
        "warnings": "|".join(warning.message for warning in record.warnings),
    }
