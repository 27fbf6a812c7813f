"""Which variants of a recipe are compared, by a file such as ``experiments/ablation.toml``."""

from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from training.errors import RecipeError
from training.recipe import Recipe, change_recipe


class Ablation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which variants of a recipe are compared.

    Attributes
    ----------
    seeds : tuple of int
    common : tuple of str
        Changes of the recipe for all variants; see `training.recipe.change_recipe`. ``{seed}`` in a change stands
        for the seed, here and in `variants`.
    variants : dict
        Name → further changes. The first is what the others are compared with.
    """

    seeds: Annotated[tuple[int, ...], Meta(min_length=1)]
    common: tuple[str, ...]
    variants: Annotated[dict[str, tuple[str, ...]], Meta(min_length=1)]

    def recipes(self, recipe: Recipe) -> dict[str, Recipe]:
        """Return each fit's name and its recipe, one seed after the other.

        Raises
        ------
        RecipeError
            A change names no key of the recipe, or a value that it cannot have.
        """
        found = {}
        for seed in self.seeds:
            for name, changes in self.variants.items():
                seeded = [change.replace("{seed}", str(seed)) for change in (*self.common, *changes, "seed={seed}")]
                found[run_name(name, seed)] = change_recipe(recipe, seeded)
        return found


def run_name(variant: str, seed: int) -> str:
    """Return the name of a fit's directory."""
    return f"{variant}-{seed}"


def read_ablation(path: Path) -> Ablation:
    """Read an ablation file.

    Raises
    ------
    RecipeError
    """
    try:
        return msgspec.toml.decode(path.read_bytes(), type=Ablation)
    except msgspec.MsgspecError as error:
        raise RecipeError(f"{path}: {error}") from error
