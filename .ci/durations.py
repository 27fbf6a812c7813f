"""Print the files whose tests took longest, from the tests' XML; with ``--write`` record them in tests/durations.json.

Where tests run on several cores, the recorded files come first, longest first.
"""

import json
import sys
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree

#: Seconds; the order of files that take less does not matter.
LEAST = 10
TESTS = Path(__file__).parent.parent / "tests"

seconds: Counter[str] = Counter()
for case in ElementTree.parse(sys.argv[1]).iter("testcase"):
    seconds[(case.get("file") or "?").removeprefix("tests/")] += float(case.get("time") or 0)
longest = {file: round(took) for file, took in seconds.most_common() if took >= LEAST}
if "--write" in sys.argv:
    (TESTS / "durations.json").write_text(json.dumps(longest, indent=2) + "\n")
for file, took in list(longest.items())[:15]:
    print(f"{took:5} s  {file}")
print(f"{seconds.total():5.0f} s  all {len(seconds)} files")
