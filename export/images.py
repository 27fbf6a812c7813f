"""Real images for the parity gate."""

from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from cxr_edge.images import read_image
from cxr_edge.model.preprocess import preprocess
from export.errors import ExportError


def image_files(folder: Path) -> list[Path]:
    """List every PNG and JPEG of a folder.

    Raises
    ------
    ExportError
        There is none: a gate without images would pass anything.
    """
    paths = sorted(p for p in folder.glob("*") if p.suffix.lower() in {".png", ".jpg", ".jpeg"})
    if not paths:
        raise ExportError(f"{folder}: expected PNG or JPEG images for the parity gate; name their folder with --images")
    return paths


def listed_images(folder: Path) -> pd.DataFrame:
    """List the images of a folder as a table, with ``image`` and ``path``; see `image_files`."""
    return pd.DataFrame([{"image": path.name, "path": str(path)} for path in image_files(folder)])


def load_gate_images(
    folder: Path, size: tuple[int, int], fit: Literal["stretch", "crop"] = "stretch"
) -> npt.NDArray[np.uint8]:
    """Read the images of a folder, pre-processed.

    Returns
    -------
    ndarray, (N, *size) uint8
    """
    return np.stack([preprocess(read_image(path).pixels, size, fit) for path in image_files(folder)])
