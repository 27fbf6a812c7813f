"""How far heat maps of two runtimes agree."""

from typing import Any, Final

import numpy as np
import numpy.typing as npt

#: Share of the largest label, below which differences are not relative to a label's own size.
FLOOR: Final = 1e-2

FIGURES = ("correlation_median", "correlation_p1", "correlation_min", "same_strongest_cell", "empty_on_one_side")


def map_agreement(first: npt.NDArray[np.float32], second: npt.NDArray[np.float32]) -> dict[str, float]:
    """Compare heat maps cell by cell.

    Parameters
    ----------
    first, second : ndarray, (N, labels, h, w)

    Returns
    -------
    dict
        Pearson's ``correlation`` over the cells of each map that varies on both sides (median,
        1st percentile, smallest); the share of them with the ``same_strongest_cell``; the share
        of all maps that are ``empty_on_one_side``. NaN where a map is not a number, or none varies.
    """
    flat = [maps.reshape(-1, maps.shape[2] * maps.shape[3]).astype(np.float64) for maps in (first, second)]
    varies = [np.ptp(maps, axis=1) > 0 for maps in flat]
    both = varies[0] & varies[1]
    if not both.any() or not all(np.isfinite(maps).all() for maps in flat):
        return dict.fromkeys(FIGURES, float("nan"))
    one, two = (maps[both] for maps in flat)
    centred = [maps - maps.mean(axis=1, keepdims=True) for maps in (one, two)]
    correlation = (centred[0] * centred[1]).sum(axis=1) / np.prod([np.linalg.norm(c, axis=1) for c in centred], axis=0)
    figures = (
        np.median(correlation),
        np.percentile(correlation, 1),
        correlation.min(),
        (one.argmax(axis=1) == two.argmax(axis=1)).mean(),
        (varies[0] != varies[1]).mean(),
    )
    return {name: float(figure) for name, figure in zip(FIGURES, figures, strict=True)}


def largest_difference(found: npt.NDArray[Any], expected: npt.NDArray[Any]) -> float:
    """Return the largest difference of two sets of heat maps, (N, labels, h, w), in any cell.

    It is relative to the largest value of that label's map of that image, or to `FLOOR` of the largest over all
    labels where the label's own is smaller: a sum of a thousand terms that nearly cancel carries the rounding of
    its terms.
    """
    of_label = expected.max(axis=(2, 3), keepdims=True)
    floor = FLOOR * expected.max(axis=(1, 2, 3), keepdims=True)
    scale = np.maximum(np.maximum(of_label, floor), np.finfo(np.float32).tiny)
    return float((np.abs(found - expected) / scale).max())
