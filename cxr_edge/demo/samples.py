"""Sample images of the demo: those of the clone, which the wheel contains beside this file."""

from pathlib import Path


def samples() -> dict[str, Path]:
    """Return the sample images by name; empty if the installation has none."""
    here = Path(__file__).parent
    folders = (here / "samples", here.parent.parent / "samples")
    folder = next((folder for folder in folders if folder.is_dir()), folders[0])
    return {path.stem: path for path in sorted(folder.glob("*.png"))}
