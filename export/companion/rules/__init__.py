"""One rule for each operator: from the cotangent of its output to those of its inputs."""

from typing import Final

from export.companion.rules import (
    activations,
    convolution,
    elementwise,
    matmul,
    normalisation,
    pooling,
    reductions,
    resizing,
    shapes,
)
from export.companion.step import Rule

RULES: Final[dict[str, Rule]] = {
    **activations.RULES,
    **convolution.RULES,
    **elementwise.RULES,
    **matmul.RULES,
    **normalisation.RULES,
    **pooling.RULES,
    **reductions.RULES,
    **resizing.RULES,
    **shapes.RULES,
}
