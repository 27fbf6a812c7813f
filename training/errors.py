"""Errors of data, recipe or fit; each message states what to do."""


class TrainingError(Exception):
    """Base of everything this package raises on purpose."""


class DataError(TrainingError):
    """The data set is incomplete or contradicts itself, or a run directory belongs to other data."""


class Busy(DataError):
    """Another process is writing the directory."""


class RecipeError(TrainingError):
    """A key of the recipe is missing, unknown, or has a wrong value."""


class FitError(TrainingError):
    """The fit diverged, or cannot begin on this machine."""


def how_to_get(missing: ModuleNotFoundError) -> str:
    """Return how to install a package that an import lacks.

    Raises
    ------
    ModuleNotFoundError
        The module is one of this repository: a fault, and not the user's.
    """
    package = (missing.name or "").partition(".")[0]
    if package in ("", "cxr_edge", "training", "export", "benchmarks"):
        raise missing
    return f"the package {package} is not installed; in the clone: pip install -e '.[cpu]' --group export (pip 25.1)"
