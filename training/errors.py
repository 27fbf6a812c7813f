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
    """The fit diverged."""
