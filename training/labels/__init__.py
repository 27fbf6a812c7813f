"""Label sets: what a network is trained to predict, read from files beside this one or from anywhere.

No code of this package knows a label by its name; what other data sets call the same findings is in ``aliases.json``.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from cxr_edge.model.labels import Label, label_problems
from training.errors import RecipeError

FOLDER: Final = Path(__file__).parent
#: The label set of a recipe that names no other: the labels of NIH ChestX-ray14 (Wang et al. 2017).
DEFAULT: Final = "nih14"


@dataclass(frozen=True)
class LabelSet:
    """Labels in the order of a network's outputs.

    Attributes
    ----------
    records : tuple of Label
    """

    records: tuple[Label, ...]

    @classmethod
    def of(cls, records: Sequence[Label]) -> "LabelSet":
        """Take the labels of a bundle or a file."""
        return cls(tuple(records))

    def __len__(self) -> int:
        return len(self.records)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all labels."""
        return tuple(label.name for label in self.records)

    @property
    def findings(self) -> tuple[str, ...]:
        """Names of the labels of the role ``finding``."""
        return tuple(label.name for label in self.records if label.is_finding)

    @property
    def normal(self) -> tuple[str, ...]:
        """Names of the labels that mean the absence of findings."""
        return tuple(label.name for label in self.records if not label.is_finding)

    @property
    def finding_columns(self) -> list[int]:
        """Positions of the findings among all labels."""
        return [place for place, label in enumerate(self.records) if label.is_finding]


def read_labels(source: str = DEFAULT) -> LabelSet:
    """Read a label set.

    Parameters
    ----------
    source : str
        Name of a set beside this file, such as ``nih14``; or path of a JSON file with a list of labels, each as in a
        bundle's manifest.

    Raises
    ------
    RecipeError
        There is no such set, or it is not a list of labels with distinct names and codes.
    """
    file = FOLDER / f"{source}.json"
    if not file.is_file():
        file = Path(source)
    try:
        records = msgspec.json.decode(file.read_bytes(), type=tuple[Label, ...])
    except OSError as error:
        known = ", ".join(sorted(path.stem for path in FOLDER.glob("*.json") if path.stem != "aliases"))
        raise RecipeError(f"labels: expected one of {known}, or a JSON file, got {source!r}") from error
    except msgspec.MsgspecError as error:
        raise RecipeError(f"{file}: {error}; compare it with {FOLDER / DEFAULT}.json") from error
    found = LabelSet.of(records)
    for problem in label_problems(records):
        raise RecipeError(f"{file}: {problem}")
    return found


def aliases(data_set: str) -> dict[str, str]:
    """Return the names that a data set uses for labels: its name → ours."""
    known: dict[str, dict[str, str]] = json.loads((FOLDER / "aliases.json").read_text(encoding="utf-8"))
    return known[data_set]
