"""The record of every test look."""

import json
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

TEST_LOOKS = Path(__file__).parent.parent / "results" / "test_looks.jsonl"


def record_look(look: dict[str, Any], looks: Path = TEST_LOOKS) -> int:
    """Append one test look: the bundle, and the figures that were seen; the date is added.

    Returns
    -------
    int
        Test looks so far.
    """
    dated = {"date": datetime.now(timezone.utc).date().isoformat(), **look}
    looks.parent.mkdir(parents=True, exist_ok=True)
    with looks.open("a", encoding="utf-8") as file:
        file.write(json.dumps(dated) + "\n")
    return len(looks.read_text(encoding="utf-8").splitlines())
