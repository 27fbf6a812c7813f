"""Results as spreadsheets read them."""

import csv
import io
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from typing import Any

from cxr_edge.labels import LABELS


def csv_text(lines: Iterable[Mapping[str, Any]]) -> str:
    """Give result lines as CSV: one row an input, one column a label.

    ``positive`` holds the positive findings, by falling probability, separated by ``|``. Of the lines no more
    are held at a time than stand before the first that names the labels.
    """
    buffer = io.StringIO(newline="")
    lines = iter(lines)
    first, labels = _up_to_labels(lines)
    columns = ["path", "sha256", "status", "error_code", "error_message", "model", "view_mode", "views", "positive"]
    writer = csv.DictWriter(buffer, [*columns, *labels, "warnings"], restval="")
    writer.writeheader()
    writer.writerows(_csv_row(line) for line in chain(first, lines))
    return buffer.getvalue()


def _up_to_labels(lines: Iterator[Mapping[str, Any]]) -> tuple[list[Mapping[str, Any]], list[str]]:
    taken = []
    for line in lines:
        taken.append(line)
        if line["status"] == "ok":
            return taken, list(line["probabilities"])
    return taken, list(LABELS)


def _csv_row(line: Mapping[str, Any]) -> dict[str, Any]:
    if line["status"] == "error":
        error = line["error"]
        return {"path": line["path"], "status": "error", "error_code": error["code"], "error_message": error["message"]}
    return {
        **{key: line[key] for key in ("path", "sha256", "status", "model", "view_mode", "views")},
        "positive": "|".join(f["label"] for f in line["findings"] if f["positive"]),
        **line["probabilities"],
        "warnings": "|".join(line["warnings"]),
    }
