"""What a result was made with: the commit of this source tree, and the packages."""

import importlib
import shutil
import subprocess
from pathlib import Path


def commit() -> str | None:
    """Name the commit of this source tree, ``-dirty`` where files differ from it; None outside a repository."""
    git = shutil.which("git")
    if git is None:
        return None
    described = subprocess.run(  # noqa: S603 (nothing here comes from outside)
        [git, "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"],
        cwd=Path(__file__).parent, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return described.stdout.strip() or None


def versions(*modules: str) -> dict[str, str]:
    """Return the versions of importable modules."""
    return {name: importlib.import_module(name).__version__ for name in modules}
