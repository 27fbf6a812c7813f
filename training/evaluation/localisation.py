"""Do heat maps point where radiologists drew boxes? Pointing game and IoU, beside a centred and a random map."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from rich.progress import track

from cxr_edge.bundle import Bundle
from cxr_edge.gradcam import upsample
from cxr_edge.labels import DISEASES
from training.errors import DataError
from training.evaluation.predictions import raw_model, sources
from training.evaluation.resampling import Bootstrap, Floats, Rows
from training.evaluation.stems import stems
from training.network import STRIDE

#: Boxes are in pixels of NIH's 1024x1024 originals.
FRAME = 1024

#: A map's region is where it reaches this share of its maximum.
REGION = 0.5
IOUS = (0.1, 0.2, 0.3, 0.4, 0.5)

#: Standard deviation of the centred control, as a share of the side.
CENTRE = 0.25

MAPS = ("grad_cam", "centred", "random")


def read_boxes(file: Path) -> pd.DataFrame:
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
    table["finding"] = table["finding"].replace("Infiltrate", "Infiltration")
    if unknown := set(table["finding"]) - set(DISEASES):
        raise DataError(f"{file}: unknown findings {sorted(unknown)}")
    return table[columns].assign(image=table["image"].map(lambda name: Path(name).stem))


def localise(bundle: Bundle, table: pd.DataFrame, boxes: pd.DataFrame, bootstrap: Bootstrap) -> dict[str, Any] | None:
    """Hold heat maps against boxes; a film's boxes of one finding are taken together.

    Parameters
    ----------
    bundle : Bundle
        Maps are those of its default view mode.
    table : DataFrame
        Films; those without a box are left out.
    boxes : DataFrame
        As `read_boxes` gives it.
    bootstrap : Bootstrap

    Returns
    -------
    dict or None
        ``cases`` (pairs of film and finding), ``films``, and for ``grad_cam``, ``centred`` and ``random``:
        ``pointing_game`` (the maximum lies in a box) and ``iou_above`` each of `IOUS`; Grad-CAM
        also by finding. None without a box.

    Raises
    ------
    DataError
        Names do not tell films apart.
    """
    films = table.assign(stem=stems(table["image"], "the data set").to_numpy())
    films = films[films["stem"].isin(boxes["image"])].reset_index(drop=True)
    if films.empty:
        return None
    rng = np.random.default_rng(bootstrap.seed)
    model = raw_model(bundle)
    positions = tuple(side // STRIDE for side in bundle.manifest.input.size)
    cases = []
    shown = zip(films.itertuples(), sources(films, bundle.manifest.input.size[0]), strict=True)
    for film, source in track(shown, "Heat maps", total=len(films)):
        result = model.predict(source, heatmaps=True)
        for finding, drawn in boxes[boxes["image"] == film.stem].groupby("finding"):
            inside = _mask(drawn, result.size)
            random = upsample(rng.random(positions, np.float32), result.size)
            maps = {"grad_cam": result.heatmap(finding), "centred": _centred(result.size), "random": random}
            cases.append({"patient": film.patient, "finding": finding, **_scores(maps, inside)})
    return _summary(pd.DataFrame(cases), len(films), bootstrap)


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


def _summary(cases: pd.DataFrame, films: int, bootstrap: Bootstrap) -> dict[str, Any]:
    return {
        "cases": len(cases),
        "films": films,
        "region": f"where a map reaches {REGION:.0%} of its maximum",
        **{name: _figures(cases, name, bootstrap) for name in MAPS},
        "findings": {
            finding: {"cases": len(of_finding), **_figures(of_finding, "grad_cam", bootstrap)}
            for finding, of_finding in cases.groupby("finding")
        },
    }


def _figures(cases: pd.DataFrame, name: str, bootstrap: Bootstrap) -> dict[str, Any]:
    hits, overlaps = cases[f"{name}_hit"].to_numpy(), cases[f"{name}_iou"].to_numpy()

    def statistic(rows: Rows) -> Any:
        return np.array([hits[rows].mean(), *((overlaps[rows] > limit).mean() for limit in IOUS)])

    pointing, *above = bootstrap.figures(statistic, cases["patient"].to_numpy())
    return {"pointing_game": pointing, "iou_above": dict(zip(map(str, IOUS), above, strict=True))}
