"""Print every skipped test with its reason; fail where one is skipped that is not expected to be."""

import sys
from pathlib import Path
from xml.etree import ElementTree

expected = set((Path(__file__).parent / "expected_skips.txt").read_text().split())
unexpected = []
for case in ElementTree.parse(sys.argv[1]).iter("testcase"):
    for skip in case.iter("skipped"):
        name = f"{case.get('classname')}::{case.get('name')}"
        print(f"skipped: {name}: {skip.get('message')}")
        if name not in expected:
            unexpected.append(name)
if unexpected:
    sys.exit(f"{len(unexpected)} tests are skipped that are not in .ci/expected_skips.txt")
print(f"No unexpected skip; {len(expected)} expected.")
