"""Every look at the test part is on record."""

import json
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

TEST_LOOKS = Path(__file__).parent.parent / "results" / "test_looks.jsonl"


def record_look(report: dict[str, Any], looks: Path = TEST_LOOKS) -> int:
    """Append one look: date, what was looked at, and the mean ROC-AUC that was seen.

    Returns
    -------
    int
        Looks so far.
    """
    look = {
        "date": datetime.now(timezone.utc).date().isoformat(),
        "bundle": report["bundle"],
        "bundle_sha256": report["bundle_sha256"],
        "model_sha256": report["model_sha256"],
        "commit": report["commit"],
        "films": report["films"],
        "mean_auc": {mode: figures["mean"]["auc"] for mode, figures in report["view_modes"].items()},
    }
    looks.parent.mkdir(parents=True, exist_ok=True)
    with looks.open("a", encoding="utf-8") as file:
        file.write(json.dumps(look) + "\n")
    return len(looks.read_text(encoding="utf-8").splitlines())
