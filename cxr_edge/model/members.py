"""Members: the outputs of several networks for one image, merged into those of one.

A label's log-odds are the weighted mean of its members' calibrated log-odds; a member without the label has no part in
it. The bundle's own calibration follows later, as for one network.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
import numpy.typing as npt

from cxr_edge.model.calibration import calibrated_log_odds
from cxr_edge.model.crop import in_whole_image
from cxr_edge.model.network import Network


@dataclass(frozen=True, eq=False)
class Outputs:
    """What one network returned for the TTA variants of an image.

    Attributes
    ----------
    network : Network
    probabilities : ndarray, (variants, its labels) float32
    maps : ndarray, (variants, its labels, y, x) float32, or None
    """

    network: Network
    probabilities: npt.NDArray[np.float32]
    maps: npt.NDArray[np.float32] | None

    def in_frame_of(self, shape: tuple[int, int]) -> "Outputs":
        """Return the same with maps in the frame of the whole image, of which the network may have seen the middle."""
        how = self.network.input
        if self.maps is None or how.fit == "stretch":
            return self
        return replace(self, maps=in_whole_image(self.maps, shape, how.size))


def merge_probabilities(outputs: Sequence[Outputs], labels: Sequence[str]) -> npt.NDArray[np.float32]:
    """Average the calibrated log-odds of the members by their weights.

    Returns
    -------
    ndarray, (variants, labels) float32
        The only member's probabilities as they are, where it has no calibration.
    """
    if outputs[0].network.calibration is None:
        return outputs[0].probabilities
    shares = _shares(outputs, labels)
    total = np.zeros((len(outputs[0].probabilities), len(labels)))
    for share, one in zip(shares, outputs, strict=True):
        raw = one.probabilities.astype(np.float64)
        calibrated = calibrated_log_odds(raw, one.network.calibration or {}, one.network.labels)
        places = _places(one.network, labels)
        total[:, places] += share[places] * calibrated
    return np.asarray(1 / (1 + np.exp(-total)), np.float32)


def merge_maps(
    outputs: Sequence[Outputs], labels: Sequence[str], grid: tuple[int, int]
) -> npt.NDArray[np.float32] | None:
    """Add the maps of the members on one grid, each by its part in the log-odds: a map grows with its logit.

    Returns
    -------
    ndarray, (variants, labels, *grid) float32, or None
        None where no member has maps.
    """
    if all(one.maps is None for one in outputs):
        return None
    if outputs[0].network.calibration is None:
        return outputs[0].maps
    shares = _shares(outputs, labels)
    total = np.zeros((len(outputs[0].probabilities), len(labels), *grid), np.float32)
    for share, one in zip(shares, outputs, strict=True):
        if one.maps is not None:
            places = _places(one.network, labels)
            curves = one.network.calibration or {}
            slopes = np.array([curves[label].slope for label in one.network.labels])
            total[:, places] += (share[places] * slopes)[:, None, None].astype(np.float32) * _on_grid(one.maps, grid)
    return total


def _shares(outputs: Sequence[Outputs], labels: Sequence[str]) -> npt.NDArray[np.float64]:
    """Return each member's share in each label, (members, labels): its weight over the sum of those with the label."""
    has = np.array([[label in one.network.labels for label in labels] for one in outputs], np.float64)
    weights = has * np.array([one.network.weight for one in outputs])[:, None]
    return np.asarray(weights / weights.sum(axis=0))


def _places(network: Network, labels: Sequence[str]) -> list[int]:
    """Return the places of a member's labels among the bundle's."""
    return [labels.index(label) for label in network.labels]


def _on_grid(maps: npt.NDArray[np.float32], grid: tuple[int, int]) -> npt.NDArray[np.float32]:
    """Resize maps to a grid, (variants, labels, *grid) float32."""
    if maps.shape[2:] == grid:
        return maps
    resized = [cv2.resize(one, grid[::-1], interpolation=cv2.INTER_LINEAR) for one in maps.reshape(-1, *maps.shape[2:])]
    return np.asarray(resized, np.float32).reshape(*maps.shape[:2], *grid)
