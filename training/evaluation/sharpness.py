"""The same images sharp and reduced: a model that takes sharpness for disease ranks them differently."""

from typing import Any

import numpy as np
from scipy.special import logit

from cxr_edge.model.model import Model
from training.errors import DataError
from training.evaluation.figures import paired
from training.evaluation.predictions import Predictions, predict_images
from training.evaluation.resampling import Bootstrap
from training.labels import LabelSet


def ranked_reduced(model: Model, predictions: Predictions, side: int, bootstrap: Bootstrap) -> dict[str, Any]:
    """Compare the ranking of images with that of the same images reduced, in the default TTA mode.

    Parameters
    ----------
    model : Model
    predictions : Predictions
        Of the images as they are.
    side : int
        Pixels that each image is reduced to before it is enlarged to the network's input.
    bootstrap : Bootstrap

    Returns
    -------
    dict
        ``reduced_to``; ``mean`` and ``mean_within`` as `paired` returns them, the reduced images first; ``change`` of
        the raw probabilities: the median of its absolute value, and in log-odds the median of the change itself,
        which a model that reads sharpness shifts.

    Raises
    ------
    DataError
        The images would not become smaller than the network's input.
    """
    manifest, labels = model.manifest, LabelSet.of(model.manifest.labels)
    if side >= min(manifest.input.size):
        raise DataError(f"expected a side below the {min(manifest.input.size)} pixels of the network, got {side}")
    reduced = predict_images(model, predictions.table, reduced_to=side)
    mode = manifest.tta.default_mode
    blurred, sharp = (found.raw[mode][:, labels.finding_columns] for found in (reduced, predictions))
    truth = predictions.table[list(labels.findings)].to_numpy(np.float64)
    compared = paired(truth, (blurred, sharp), predictions.table, labels.findings, bootstrap)
    return {
        "reduced_to": side,
        "mean": compared["mean"],
        "mean_within": compared["mean_within"],
        "change": {
            "median": float(np.median(np.abs(blurred - sharp))),
            "median_log_odds": float(np.median(logit(blurred) - logit(sharp))),
        },
    }
