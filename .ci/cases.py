"""Run a folder of case scripts against this checkout and print a table: ``python .ci/cases.py FOLDER``.

A case is a script that makes an input or a situation and prints PASS or FAIL lines; ``common.py`` beside it helps. They
are run from a copy, in which calls of the API have their present names. A row counts the lines; a script without any
has not run, and its last line says why. Some need root, gcc or dcmtk. Exit status: 0 only PASS; 1 otherwise.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
#: What the scripts say → what this version calls it.
RENAMED = {
    "cxr_edge.Reading(": "cxr_edge.InputLimits(",
    "import Reading,": "import InputLimits,",
    "(Reading(": "(InputLimits(",
    ", Reading(": ", InputLimits(",
    "reading=": "limits=",
    "[[peers]]": "[[destinations]]",
    "return done.returncode, [json.loads(line) for line in done.stdout.splitlines()], done.stderr": (
        "lines = [json.loads(line) for line in done.stdout.splitlines()]\n"
        "    for line in lines:\n"
        "        line['warnings'] = [w['message'] for w in line.get('warnings') or []]\n"
        "    return done.returncode, lines, done.stderr"
    ),
}
SECONDS = 600


def adapted(folder: Path, copy: Path) -> list[Path]:
    """Copy the scripts with present names; return the cases."""
    for script in folder.glob("*.py"):
        text = script.read_text()
        for old, new in RENAMED.items():
            text = text.replace(old, new)
        (copy / script.name).write_text(text)
    return sorted(path for path in copy.glob("*.py") if path.name != "common.py")


def run(case: Path) -> tuple[int, int, str]:
    """Return how many lines pass and fail, and the last line of one that printed neither."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    try:
        done = subprocess.run(  # noqa: S603 - the scripts that the caller names
            [sys.executable, case], capture_output=True, text=True, cwd=ROOT, env=environment, timeout=SECONDS
        )
    except subprocess.TimeoutExpired:
        return 0, 0, f"no end after {SECONDS} s"
    lines = done.stdout.splitlines()
    passed, failed = (sum(line.startswith(word) for line in lines) for word in ("PASS", "FAIL"))
    last = "" if passed or failed else (done.stderr.strip().splitlines() or ["printed nothing"])[-1]
    return passed, failed, last


def main() -> None:
    """Run all cases of the folder."""
    wrong = False
    with tempfile.TemporaryDirectory(prefix="cases-") as copy:
        for case in adapted(Path(sys.argv[1]), Path(copy)):
            passed, failed, last = run(case)
            wrong |= bool(failed) or not passed
            print(f"{case.stem:44} PASS {passed:2}  FAIL {failed:2}  {last}", flush=True)
    sys.exit(wrong)


if __name__ == "__main__":
    main()
