"""What a bundle predicts for images, through the SDK: each image read once, each TTA variant of it computed once."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd
from rich.progress import track

from cxr_edge.errors import InputError
from cxr_edge.images import read_image
from cxr_edge.model.calibration import calibrate
from cxr_edge.model.evaluation import Evaluation
from cxr_edge.model.model import Model
from cxr_edge.model.preprocess import preprocess
from cxr_edge.model.settings import FittedMode
from cxr_edge.support.parallel import map_in_order, usable_cores
from training.data.cache import CachedImages
from training.errors import DataError

MODES: tuple[FittedMode, ...] = ("single", "tta")

#: A path, or a cache's pixels.
ImageSource: TypeAlias = "Path | npt.NDArray[np.uint8]"

Scores = dict[FittedMode, npt.NDArray[np.float64]]


@dataclass(frozen=True)
class Predictions:
    """Evaluations of the images that could be read, by all TTA variants.

    Attributes
    ----------
    table : DataFrame
        Their rows.
    evaluations : list of Evaluation
        With heat maps, where those were asked for.
    raw, calibrated : dict
        TTA mode → (N, labels) float64.
    unreadable : list of dict
        image, code, message of the others.
    """

    table: pd.DataFrame
    evaluations: list[Evaluation]
    raw: Scores
    calibrated: Scores
    unreadable: list[dict[str, str]]

    @property
    def per_variant(self) -> npt.NDArray[np.float32]:
        """The raw probabilities of each TTA variant, (N, variants, labels) float32."""
        return np.stack([evaluation.probabilities for evaluation in self.evaluations])


def predict_images(
    model: Model, table: pd.DataFrame, mapped: npt.NDArray[np.bool_] | None = None, reduced_to: int | None = None
) -> Predictions:
    """Evaluate images, one on each core.

    Parameters
    ----------
    model : Model
        With one thread per inference.
    table : DataFrame
        With ``image``, and ``path``; or ``cache`` and ``row``.
    mapped : ndarray, (N,) bool, optional
        Images whose heat maps are computed too; none, if left out.
    reduced_to : int, optional
        Reduce each image to this side in pixels first, as if it had been stored so small.

    Raises
    ------
    DataError
        No image can be read.
    HeatmapUnavailable
        Maps are asked for, and the bundle has none.
    DeviceFailed
    """
    wanted = np.zeros(len(table), bool) if mapped is None else mapped
    settings = {heatmaps: model.settings(tta=True, heatmaps=heatmaps) for heatmaps in set(wanted.tolist())}

    def evaluate(item: tuple[ImageSource, bool]) -> Evaluation | InputError:
        source, heatmaps = item
        try:
            if reduced_to is not None:
                source = _reduced(source, reduced_to, model.manifest.input.size)
            return model.evaluate(source, settings[heatmaps])
        except InputError as error:
            return error

    if "cache" in table and any(network.input.fit == "crop" for network in model.manifest.networks):
        raise DataError(
            "a cache holds whole images at one size, and this bundle looks at the middle of them; evaluate it on "
            "the data set itself"
        )
    items: Any = zip(sources(table, model.manifest.input.size[0]), wanted.tolist(), strict=True)
    title = f"Evaluating on {model.device} in {model.precision}"
    found = list(track(map_in_order(evaluate, items, usable_cores()), title, total=len(table)))
    read = [isinstance(evaluation, Evaluation) for evaluation in found]
    unreadable = [
        {"image": image, "code": error.code, "message": str(error)}
        for image, error in zip(table["image"], found, strict=True)
        if isinstance(error, InputError)
    ]
    if not any(read):
        first = unreadable[0]
        raise DataError(f"none of the {len(table)} images can be read; the first, {first['image']}: {first['message']}")
    evaluations = [evaluation for evaluation in found if isinstance(evaluation, Evaluation)]
    raw = scores_by_mode(np.stack([evaluation.probabilities for evaluation in evaluations]))
    manifest = model.manifest
    calibrated = {mode: calibrate(scores, manifest.curves(mode), manifest.label_names) for mode, scores in raw.items()}
    return Predictions(table[read].reset_index(drop=True), evaluations, raw, calibrated, unreadable)


def scores_by_mode(per_variant: npt.NDArray[np.float32]) -> Scores:
    """Return the scores of each TTA mode: the first variant's probabilities, and the mean over all variants.

    Parameters
    ----------
    per_variant : ndarray, (N, variants, labels) float32
        Raw probabilities, the unchanged image first.

    Returns
    -------
    dict of ndarray, (N, labels) float64
    """
    return {"single": per_variant[:, 0].astype(np.float64), "tta": per_variant.mean(axis=1, dtype=np.float64)}


def sources(table: pd.DataFrame, size: int) -> Iterator[ImageSource]:
    """Yield each image as the SDK takes it: its path, or a cache's pixels."""
    if "cache" not in table:
        yield from table["path"]
        return
    images = CachedImages(Path(table["cache"].iloc[0]), size, table["row"].to_numpy())
    yield from (images[index] for index in range(len(images)))


def _reduced(source: ImageSource, side: int, size: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """Return an image reduced to a square of this side, and enlarged to the network's input."""
    pixels = source if isinstance(source, np.ndarray) else read_image(source).pixels
    return preprocess(preprocess(pixels, (side, side)), size)
