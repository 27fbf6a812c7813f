"""Hooks by which PyInstaller puts cxr-edge into a frozen program. It finds them by this package's entry point.

Source: PyInstaller's manual, "Understanding PyInstaller Hooks", for the names and the places of these files.
"""

from pathlib import Path


def hook_directories() -> list[str]:
    """Return the folders with hooks."""
    return [str(Path(__file__).parent / "hooks")]
