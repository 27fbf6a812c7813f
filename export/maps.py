"""How far two runtimes' heat maps agree."""

import numpy as np
import numpy.typing as npt


def map_agreement(first: npt.NDArray[np.float32], second: npt.NDArray[np.float32]) -> dict[str, float]:
    """Compare heat maps cell by cell.

    Parameters
    ----------
    first, second : ndarray, (N, 15, h, w)

    Returns
    -------
    dict
        Pearson's ``correlation`` over the cells of each map that varies on both sides (median,
        1st percentile, smallest); the share of them with the ``same_strongest_cell``; the share
        of all maps that are ``empty_on_one_side``.
    """
    flat = [maps.reshape(-1, maps.shape[2] * maps.shape[3]).astype(np.float64) for maps in (first, second)]
    varies = [np.ptp(maps, axis=1) > 0 for maps in flat]
    one, two = (maps[varies[0] & varies[1]] for maps in flat)
    centred = [maps - maps.mean(axis=1, keepdims=True) for maps in (one, two)]
    correlation = (centred[0] * centred[1]).sum(axis=1) / np.prod([np.linalg.norm(c, axis=1) for c in centred], axis=0)
    return {
        "correlation_median": float(np.median(correlation)),
        "correlation_p1": float(np.percentile(correlation, 1)),
        "correlation_min": float(correlation.min()),
        "same_strongest_cell": float((one.argmax(axis=1) == two.argmax(axis=1)).mean()),
        "empty_on_one_side": float((varies[0] != varies[1]).mean()),
    }
