"""The TTA variants that a model is calibrated, gated and shipped with."""

from typing import Final

from cxr_edge.model.tta import IDENTITY, TtaVariant

#: {original, flipped} x {0.9, 1.0, 1.1 brightness}. The unchanged image leads: the first alone is ``single``.
VARIANTS: Final[tuple[TtaVariant, ...]] = (
    IDENTITY,
    TtaVariant(flip=False, brightness=0.9),
    TtaVariant(flip=False, brightness=1.1),
    TtaVariant(flip=True, brightness=1.0),
    TtaVariant(flip=True, brightness=0.9),
    TtaVariant(flip=True, brightness=1.1),
)
