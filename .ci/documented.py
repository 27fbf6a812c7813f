"""Print what became of every code block of README and docs, from the tests' XML."""

import sys
from collections import Counter
from xml.etree import ElementTree

counts: Counter[str] = Counter()
for entry in ElementTree.parse(sys.argv[1]).iter("property"):
    if entry.get("name") == "documented":
        place, language, became, first_line = (entry.get("value") or "").split("\t")
        print(f"{place:32} {language:10} {first_line}\n{'':32} {became}")
        counts[became.partition(":")[0]] += 1
if not counts["executed"]:
    sys.exit("no block of the documentation was executed: did tests/documentation run?")
print(f"{counts.total()} blocks: " + ", ".join(f"{number} {what}" for what, number in counts.most_common()))
