"""Images of several tables matched by their names without suffix."""

from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from training.errors import DataError


def stems(images: Iterable[str], where: str) -> pd.Series:
    """Return the names of images without folder and suffix.

    Raises
    ------
    DataError
        Two images share a name.
    """
    found = pd.Series([Path(image).stem for image in images], dtype=object)
    if (twice := found.duplicated()).any():
        raise DataError(
            f"{where}: several images are called {found[twice].iloc[0]}; names without folder and suffix must differ"
        )
    return found
