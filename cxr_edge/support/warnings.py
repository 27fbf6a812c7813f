"""Warnings to the reader of a result, each with a stable code for programs and a message for people."""

from typing import Final

import msgspec

#: Codes of the warnings that the image may not be an upright frontal chest radiograph, so that findings mean little.
DOUBTS: Final = frozenset(
    {
        "not_a_chest_image",
        "lateral_view",
        "frontal_view",
        "wrong_orientation",
        "out_of_distribution",
        "age_outside_training",
    }
)


class CodedWarning(msgspec.Struct, frozen=True):
    """A warning.

    Attributes
    ----------
    code : str
        Stable, such as ``out_of_distribution``.
    message : str
    """

    code: str
    message: str

    @property
    def is_doubt(self) -> bool:
        """Whether it warns that the image may not be an upright frontal chest radiograph."""
        return self.code in DOUBTS

    def __str__(self) -> str:
        return self.message
