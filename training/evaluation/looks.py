"""Every look at the test part is on record."""

import json
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

TEST_LOOKS = Path(__file__).parent.parent / "results" / "test_looks.jsonl"


def record_look(look: dict[str, Any], looks: Path = TEST_LOOKS) -> int:
    """Append one look: what was looked at, and what was seen; the date is added.

    Returns
    -------
    int
        Looks so far.
    """
    dated = {"date": datetime.now(timezone.utc).date().isoformat(), **look}
    looks.parent.mkdir(parents=True, exist_ok=True)
    with looks.open("a", encoding="utf-8") as file:
        file.write(json.dumps(dated) + "\n")
    return len(looks.read_text(encoding="utf-8").splitlines())
