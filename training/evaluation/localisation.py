"""Heat maps compared with radiologists' boxes: pointing game and IoU, beside a centred and a random map."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from cxr_edge.model.heatmaps import upsample
from cxr_edge.model.model import Model
from training.errors import DataError
from training.evaluation.predictions import Predictions
from training.evaluation.resampling import Bootstrap, Floats, Rows
from training.evaluation.stems import stems
from training.labels import aliases

#: Boxes are in pixels of NIH's 1024x1024 originals.
FRAME = 1024

#: A map's region is where it reaches this share of its maximum.
REGION = 0.5
IOUS = (0.1, 0.2, 0.3, 0.4, 0.5)

#: Standard deviation of the centred control, as a share of the side.
CENTRE = 0.25

CONTROLS = ("centred", "random")


def read_boxes(file: Path, findings: Sequence[str]) -> pd.DataFrame:
    """Read radiologists' boxes: NIH's ``BBox_List_2017.csv``, or a CSV with image, finding, x, y, w, h.

    Returns
    -------
    DataFrame
        image (without its suffix), finding, x, y, w, h in pixels of the 1024x1024 original.

    Raises
    ------
    DataError
        It is neither, or names an unknown finding.
    """
    table = pd.read_csv(file, dtype={"image": str})
    columns = ["image", "finding", "x", "y", "w", "h"]
    if list(table.columns[:2]) == ["Image Index", "Finding Label"] and len(table.columns) >= 6:
        table = table.iloc[:, :6].set_axis(columns, axis=1)
    if missing := set(columns) - set(table):
        raise DataError(
            f"{file}: expected the columns {columns} or NIH's BBox_List_2017.csv, lacking {sorted(missing)}"
        )
    table["finding"] = table["finding"].replace(aliases("nih-boxes"))
    if unknown := set(table["finding"]) - set(findings):
        raise DataError(f"{file}: expected findings of {', '.join(findings)}, got {sorted(unknown)}")
    return table[columns].assign(image=table["image"].map(lambda name: Path(name).stem))


def has_boxes(table: pd.DataFrame, boxes: pd.DataFrame) -> npt.NDArray[np.bool_]:
    """Return which images of a table have a box.

    Raises
    ------
    DataError
        Names are not unique.
    """
    return np.asarray(stems(table["image"], "the data set").isin(boxes["image"]), bool)


def localise(
    model: Model, predictions: Predictions, boxes: pd.DataFrame, bootstrap: Bootstrap
) -> dict[str, Any] | None:
    """Compare heat maps with boxes; an image's boxes of one finding are taken together.

    Parameters
    ----------
    model : Model
        Maps are those of its bundle's default TTA mode.
    predictions : Predictions
        With the heat maps of the images that have a box; see `has_boxes`.
    boxes : DataFrame
        As `read_boxes` returns it.
    bootstrap : Bootstrap

    Returns
    -------
    dict or None
        ``cases`` (pairs of image and finding), ``images``, ``method``, and for ``maps``, ``centred`` and ``random``:
        ``pointing_game`` (the maximum lies in a box) and ``iou_above`` each of `IOUS`; the model's maps also by
        finding. None without a box.
    """
    manifest = model.manifest
    if manifest.maps is None:
        return None
    table, boxed = predictions.table, has_boxes(predictions.table, boxes)
    if not boxed.any():
        return None
    rng = np.random.default_rng(bootstrap.seed)
    settings = model.settings(heatmaps=True)
    cases = []
    for row in np.flatnonzero(boxed):
        image, result = table.iloc[row], model.decide(predictions.evaluations[row], settings)
        for finding, drawn in boxes[boxes["image"] == Path(image["image"]).stem].groupby("finding"):
            inside = _mask(drawn, result.size)
            random = upsample(rng.random(manifest.maps.grid, np.float32), result.size)
            maps = {"maps": result.heatmap(finding), "centred": _centred(result.size), "random": random}
            cases.append({"patient": image["patient"], "finding": finding, **_scores(maps, inside)})
    return {"method": manifest.maps.method, **_summary(pd.DataFrame(cases), int(boxed.sum()), bootstrap)}


def _mask(drawn: pd.DataFrame, size: tuple[int, int]) -> npt.NDArray[np.bool_]:
    height, width = size
    inside = np.zeros(size, bool)
    for box in drawn.itertuples():
        rows = slice(round(box.y * height / FRAME), round((box.y + box.h) * height / FRAME))
        columns = slice(round(box.x * width / FRAME), round((box.x + box.w) * width / FRAME))
        inside[rows, columns] = True
    return inside


def _centred(size: tuple[int, int]) -> Floats:
    rows, columns = (np.linspace(-0.5, 0.5, side) for side in size)
    return np.asarray(np.exp(-(rows[:, None] ** 2 + columns[None, :] ** 2) / (2 * CENTRE**2)))


def _scores(maps: Mapping[str, Floats], inside: npt.NDArray[np.bool_]) -> dict[str, float]:
    scores = {}
    for name, heatmap in maps.items():
        empty = heatmap.max() <= 0
        region = heatmap >= REGION * heatmap.max() if not empty else np.zeros_like(inside)
        scores[f"{name}_hit"] = float(not empty and inside.flat[np.argmax(heatmap)])
        scores[f"{name}_iou"] = float((region & inside).sum() / (region | inside).sum())
    return scores


def _summary(cases: pd.DataFrame, images: int, bootstrap: Bootstrap) -> dict[str, Any]:
    return {
        "cases": len(cases),
        "images": images,
        "region": f"where a map reaches {REGION:.0%} of its maximum",
        **{name: _figures(cases, name, bootstrap) for name in ("maps", *CONTROLS)},
        "findings": {
            finding: {"cases": len(of_finding), **_figures(of_finding, "maps", bootstrap)}
            for finding, of_finding in cases.groupby("finding")
        },
    }


def _figures(cases: pd.DataFrame, name: str, bootstrap: Bootstrap) -> dict[str, Any]:
    hits, overlaps = cases[f"{name}_hit"].to_numpy(), cases[f"{name}_iou"].to_numpy()

    def statistic(rows: Rows) -> Any:
        return np.array([hits[rows].mean(), *((overlaps[rows] > limit).mean() for limit in IOUS)])

    pointing, *above = bootstrap.figures(statistic, cases["patient"].to_numpy())
    return {"pointing_game": pointing, "iou_above": dict(zip(map(str, IOUS), above, strict=True))}
