"""The images that the demo offers: those of the clone, which the wheel carries beside this file."""

from pathlib import Path


def samples() -> dict[str, Path]:
    """Give the sample images by name; empty where an installation left them out."""
    here = Path(__file__).parent
    folders = (here / "samples", here.parent.parent / "samples")
    folder = next((folder for folder in folders if folder.is_dir()), folders[0])
    return {path.stem: path for path in sorted(folder.glob("*.png"))}
