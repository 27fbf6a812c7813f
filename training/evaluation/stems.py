"""Images of several tables told to be the same by their names without suffix."""

from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from training.errors import DataError


def stems(images: Iterable[str], where: str) -> pd.Series:
    """Give names without folder and suffix, each for one image.

    Raises
    ------
    DataError
        Two images share one.
    """
    found = pd.Series([Path(image).stem for image in images], dtype=object)
    if (twice := found.duplicated()).any():
        raise DataError(f"{where}: several images are called {found[twice].iloc[0]}; names must tell images apart")
    return found
