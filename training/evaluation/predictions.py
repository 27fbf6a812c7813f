"""What a bundle says of films, through the SDK: raw and calibrated, one view and all."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import pandas as pd
from rich.progress import track

from cxr_edge.backends import usable_cores
from cxr_edge.bundle import Bundle
from cxr_edge.calibration import Calibration, calibrate
from cxr_edge.manifest import ViewMode
from cxr_edge.model import Model, Source
from cxr_edge.parallel import map_in_order
from cxr_edge.results import InputFailure, Result
from training.cache import CachedFilms
from training.errors import DataError

MODES: tuple[ViewMode, ...] = ("single", "tta")

Scores = dict[ViewMode, npt.NDArray[np.float64]]


@dataclass(frozen=True)
class Predictions:
    """Probabilities of the films that could be read.

    Attributes
    ----------
    table : DataFrame
        Their rows.
    raw, calibrated : dict
        View mode → (N, 15) float64.
    unreadable : list of dict
        image, code, message of the others.
    """

    table: pd.DataFrame
    raw: Scores
    calibrated: Scores
    unreadable: list[dict[str, str]]


def predict_films(bundle: Bundle, table: pd.DataFrame) -> Predictions:
    """Let a bundle look at films, a film on each core.

    Parameters
    ----------
    bundle : Bundle
    table : DataFrame
        With ``path``; or ``cache`` and ``row``.

    Raises
    ------
    DataError
        No film can be read.
    """
    model = raw_model(bundle)
    results = {mode: _predict(model, table, tta=mode == "tta") for mode in MODES}
    read = [isinstance(result, Result) for result in results["single"]]
    unreadable = [
        {"image": image, "code": result.code, "message": result.message}
        for image, result in zip(table["image"], results["single"], strict=True)
        if isinstance(result, InputFailure)
    ]
    if not any(read):
        first = unreadable[0]
        raise DataError(f"none of the {len(table)} films can be read; the first, {first['image']}: {first['message']}")
    raw = {mode: np.array([r.values for r in of_mode if isinstance(r, Result)]) for mode, of_mode in results.items()}
    manifest = bundle.manifest
    calibrated = {mode: calibrate(scores, manifest.curves(mode), manifest.labels) for mode, scores in raw.items()}
    return Predictions(table[read].reset_index(drop=True), raw, calibrated, unreadable)


def raw_model(bundle: Bundle, device: str = "cpu", precision: str | None = None) -> Model:
    """Load a bundle so that it emits what it would before calibration."""
    manifest = msgspec.structs.replace(bundle.manifest, calibration=Calibration("identity"))
    return Model(replace(bundle, manifest=manifest), device, precision)


def sources(table: pd.DataFrame, size: int) -> Iterator[Source]:
    """Give each film as the SDK takes it: its path, or a cache's pixels."""
    if "cache" not in table:
        yield from table["path"]
        return
    films = CachedFilms(Path(table["cache"].iloc[0]), size, table["row"].to_numpy())
    yield from (films[index] for index in range(len(films)))


def _predict(model: Model, table: pd.DataFrame, *, tta: bool) -> list[Result | InputFailure]:
    def predict(source: Source) -> Result | InputFailure:
        (result,) = model.predict_batch([source], tta=tta)
        return result

    shown: Any = sources(table, model.manifest.input.size[0])
    found = map_in_order(predict, shown, usable_cores())
    return list(track(found, "Six views" if tta else "One view", total=len(table)))
