"""The network's outputs for one image: raw probabilities of each TTA variant, maps, out-of-distribution score."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from cxr_edge.model.tta import TtaVariant, average_maps
from cxr_edge.support.warnings import CodedWarning


@dataclass(frozen=True, eq=False)
class Evaluation:
    """The network's outputs for one image; nothing is decided yet. Made by `Model.evaluate`.

    Attributes
    ----------
    variants : tuple of TtaVariant
    probabilities : ndarray, (variants, labels) float32
        As the network returns them, before calibration.
    maps : ndarray, (variants, labels, y, x) float32, or None
        Class activation maps, each in the frame of its variant; None if not asked for.
    ood_score : float or None
        Out-of-distribution score of the unchanged image, above 0 where it is unlike the training images; None where
        that variant was not evaluated, or the bundle has no rule.
    size : (int, int)
        Height and width of the image, upright.
    sha256 : str or None
        Hash of the file's bytes; None for arrays.
    path : str or None
    warnings : tuple of CodedWarning
        Of decoding.
    """

    variants: tuple[TtaVariant, ...]
    probabilities: npt.NDArray[np.float32]
    maps: npt.NDArray[np.float32] | None = field(repr=False)
    ood_score: float | None
    size: tuple[int, int]
    sha256: str | None = None
    path: str | None = None
    warnings: tuple[CodedWarning, ...] = ()

    def joined(self, more: "Evaluation") -> "Evaluation":
        """Return the evaluation of these and more variants of the same image."""
        return replace(
            self,
            variants=self.variants + more.variants,
            probabilities=np.concatenate([self.probabilities, more.probabilities]),
            maps=None if self.maps is None or more.maps is None else np.concatenate([self.maps, more.maps]),
            ood_score=more.ood_score if self.ood_score is None else self.ood_score,
        )

    def only(self, variants: Sequence[TtaVariant]) -> "Evaluation":
        """Return the evaluation of some of its variants, in the order given.

        Raises
        ------
        ValueError
            One of them was not evaluated.
        """
        if tuple(variants) == self.variants:
            return self
        if missing := [variant for variant in variants if variant not in self.variants]:
            raise ValueError(
                f"expected an evaluation of {missing[0]}, got one of {self.variants}; evaluate with tta=True"
            )
        rows = [self.variants.index(variant) for variant in variants]
        maps = None if self.maps is None else self.maps[rows]
        return replace(self, variants=tuple(variants), probabilities=self.probabilities[rows], maps=maps)

    def mean_probabilities(self) -> npt.NDArray[np.float64]:
        """Average the raw probabilities over the variants, (labels,) float64."""
        return np.asarray(self.probabilities.mean(axis=0, dtype=np.float64))

    def average_maps(self) -> npt.NDArray[np.float32] | None:
        """Average the maps in the frame of the image, (labels, y, x), read-only; None where there are none."""
        if self.maps is None:
            return None
        averaged = average_maps(self.maps, self.variants)
        averaged.setflags(write=False)
        return averaged
