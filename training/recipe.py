"""The recipe of a fit: one typed file that says everything that was chosen."""

from pathlib import Path

import msgspec

from training.errors import RecipeError

DEFAULT = Path(__file__).parent / "recipes" / "default.toml"


class Stage(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One pass of the learning-rate schedule at one size.

    Attributes
    ----------
    size : int
        Side of the input in pixels; the network is convolutional, so its weights serve any.
    epochs : int
        At least 2.
    learning_rate : float
        Peak: one epoch of linear warm-up, then cosine decay to zero.
    """

    size: int
    epochs: int
    learning_rate: float

    def __post_init__(self) -> None:
        if self.size < 32 or self.epochs < 2 or self.learning_rate <= 0:
            raise ValueError(f"expected size of at least 32, epochs of at least 2, learning_rate above 0, got {self}")


class Recipe(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a network is fitted.

    Attributes
    ----------
    initial : str
        See `training.initial_weights.initial_network`.
    stages : tuple of Stage
        One after the other; the last one's size is the network's.
    validation : float
        Share of the patients outside the official test list that are held out.
    batch : int
    weight_decay : float
        Decoupled (AdamW), on kernels only.
    seed : int
        Of the split, the shuffling, dropout and augmentation.
    """

    initial: str
    stages: tuple[Stage, ...]
    validation: float
    batch: int
    weight_decay: float
    seed: int

    def __post_init__(self) -> None:
        if not self.stages or not 0 < self.validation < 1 or self.batch < 1:
            raise ValueError("expected at least one stage, validation between 0 and 1, and batch of at least 1")


def read_recipe(path: Path) -> Recipe:
    """Read a recipe file.

    Raises
    ------
    RecipeError
        The message names the key.
    """
    try:
        return msgspec.toml.decode(path.read_bytes(), type=Recipe)
    except msgspec.MsgspecError as error:
        raise RecipeError(f"{path}: {error}; compare it with {DEFAULT.name}") from error
