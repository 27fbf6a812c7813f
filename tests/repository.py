"""The repository's own files, apart from this work tree."""

import shutil
import subprocess
import sys
from pathlib import Path

from tests.conftest import ROOT


def copy_tracked(clone: Path, folders: tuple[str, ...] = ("",)) -> None:
    """Copy what a clone would hold, with changes that are not committed: the top's files, and these folders."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in listed.rstrip("\0").split("\0"):
        if "/" not in name or name.startswith(folders):
            (clone / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, clone / name)


def readme_command(name: str) -> str:
    """Return the command that a marker in the README names, as CI reads it."""
    script = [sys.executable, ROOT / ".ci" / "readme_command.py", name]
    return subprocess.run(script, capture_output=True, text=True, check=True).stdout
