"""Results as CSV, for spreadsheets: no cell is a formula."""

import csv
import io
import re
from collections.abc import Iterable, Sequence
from typing import Any, Final

from cxr_edge.model.record import FailureRecord, Record, ResultRecord

#: What a spreadsheet takes for a formula (OWASP, "CSV Injection"): an operator, also in its wide form and after blanks,
#: or a control character that ends a cell. Apostrophes before it are ours, or the text's own.
_FORMULA: Final = re.compile(r"'*(\s*[=+\-@＝＋－＠]|[\t\r\n])")
#: Before a cell, it tells a spreadsheet that what follows is text.
_TEXT: Final = "'"


def csv_text(records: Iterable[Record], labels: Sequence[str]) -> str:
    """Return records as CSV: one row per input, one column per label.

    ``positive`` lists the positive findings, by falling probability, separated by ``|``. Text is quoted and `safe`;
    numbers are neither.

    Parameters
    ----------
    records : iterable of Record
    labels : sequence of str
        Names of the model's labels.
    """
    buffer = io.StringIO(newline="")
    columns = ["path", "sha256", "status", "error_code", "error_message", "model", "tta_mode", "variants", "positive"]
    # Quoted, since a spreadsheet may separate cells at other characters than a comma, by its language.
    writer = csv.DictWriter(buffer, [*columns, *labels, "warnings"], restval="", quoting=csv.QUOTE_NONNUMERIC)
    writer.writeheader()
    writer.writerows(map(_row, records))
    return buffer.getvalue()


def safe(text: str) -> str:
    """Return the text of a cell that no spreadsheet executes: with an apostrophe before what could be a formula.

    The way back is to remove one apostrophe from a cell that begins with one and has a formula, or more apostrophes and
    a formula, after it: `plain`.
    """
    return f"{_TEXT}{text}" if _FORMULA.match(text) else text


def plain(cell: str) -> str:
    """Return the text that `safe` made a cell of."""
    return cell[1:] if cell.startswith(_TEXT) and _FORMULA.match(cell) else cell


def _row(record: Record) -> dict[str, Any]:
    row = _failed(record) if isinstance(record, FailureRecord) else _read(record)
    return {column: safe(value) if isinstance(value, str) else value for column, value in row.items()}


def _failed(record: FailureRecord) -> dict[str, Any]:
    error = record.error
    return {"path": record.path, "status": "error", "error_code": error.code, "error_message": error.message}


def _read(record: ResultRecord) -> dict[str, Any]:
    return {
        **{key: getattr(record, key) for key in ("path", "sha256", "model", "tta_mode", "variants")},
        "status": "ok",
        "positive": "|".join(finding.label for finding in record.positive),
        **record.probabilities,
        "warnings": "|".join(warning.message for warning in record.warnings),
    }
