"""Print the command that follows a marker in the README: ``<!-- command: NAME -->``."""

import re
import sys
from pathlib import Path

readme = (Path(__file__).parent.parent / "README.md").read_text()
commands = dict(re.findall(r"<!-- command: (\w+) -->\n```bash\n(.*?)\n```", readme, re.DOTALL))
print(commands[sys.argv[1]])
