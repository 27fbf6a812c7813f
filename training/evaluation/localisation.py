"""Heat maps compared with radiologists' boxes, beside maps that do not look at the image."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
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

#: Maps that know only the finding's name, or nothing. `mean_box` is how many boxes of the finding, of other patients,
#: cover each point; `mean_map` is the mean of the model's own maps of it over them.
CONTROLS = ("mean_box", "mean_map", "centred", "random")

#: Side that maps are reduced to before they are averaged.
REDUCED = 128
#: Standard deviation of the blur of boxes, as a share of the side.
BLUR = 0.02


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
        ``cases`` (pairs of image and finding), ``images``, ``method``, and for ``maps`` and each of `CONTROLS`:
        ``pointing_game`` (the maximum lies in a box), ``energy`` (share of the map's sum inside the boxes) and
        ``iou_above`` each of `IOUS`; the model's maps also by finding, beside the pointing game of the ``controls``.
        ``gain_over`` has the paired difference of the pointing game to each control. A finding with boxes of one
        patient alone has no mean over others: its cases are left out. None without a case.
    """
    manifest = model.manifest
    if manifest.maps is None:
        return None
    table, boxed = predictions.table, has_boxes(predictions.table, boxes)
    if not boxed.any():
        return None
    rng = np.random.default_rng(bootstrap.seed)
    settings = model.settings(heatmaps=True)
    cases = [
        (row, str(finding), drawn)
        for row in np.flatnonzero(boxed).tolist()
        for finding, drawn in boxes[boxes["image"] == Path(table["image"][row]).stem].groupby("finding")
    ]

    def heatmap(row: int, finding: str) -> Floats:
        return model.decide(predictions.evaluations[row], settings).heatmap(finding)

    drawn_boxes = _OverOthers([(f, table["patient"][row], _covered(drawn)) for row, f, drawn in cases])
    reduced = _OverOthers([(f, table["patient"][row], _reduced(heatmap(row, f))) for row, f, _ in cases])
    scored = []
    for row, finding, drawn in cases:
        found, patient = heatmap(row, finding), table["patient"][row]
        box, mean_map = drawn_boxes.mean(finding, patient), reduced.mean(finding, patient)
        if box is None or mean_map is None:
            continue
        maps: dict[str, Floats] = {
            "maps": found,
            "mean_box": _enlarged(box, found.shape),
            "mean_map": _enlarged(mean_map, found.shape),
            "centred": _centred(found.shape),
            "random": upsample(rng.random(manifest.maps.grid, np.float32), found.shape),
        }
        scored.append({"patient": patient, "finding": finding, **_scores(maps, _mask(drawn, found.shape))})
    if not scored:
        return None
    return {"method": manifest.maps.method, **_summary(pd.DataFrame(scored), int(boxed.sum()), bootstrap)}


class _OverOthers:
    """Means over all cases of a finding but those of one patient.

    Parameters
    ----------
    cases : list of (str, patient, ndarray)
    """

    def __init__(self, cases: list[tuple[str, Any, Floats]]) -> None:
        self._cases = cases

    def mean(self, finding: str, patient: Any) -> Floats | None:
        """Return the mean for a finding without a patient's cases; None if there is no other."""
        others = [value for of_finding, owner, value in self._cases if of_finding == finding and owner != patient]
        return np.asarray(np.mean(others, axis=0)) if others else None


def _reduced(heatmap: Floats) -> Floats:
    return np.asarray(cv2.resize(heatmap.astype(np.float32), (REDUCED, REDUCED), interpolation=cv2.INTER_AREA))


def _covered(drawn: pd.DataFrame) -> Floats:
    """Return which part of a frame boxes cover, blurred, so that the highest point of a flat part is its middle."""
    covered = _mask(drawn, (REDUCED, REDUCED)).astype(np.float32)
    return np.asarray(cv2.GaussianBlur(covered, (0, 0), BLUR * REDUCED))


def _enlarged(mean: Floats, size: tuple[int, int]) -> Floats:
    return np.asarray(cv2.resize(mean.astype(np.float32), size[::-1], interpolation=cv2.INTER_LINEAR))


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
        scores[f"{name}_energy"] = 0.0 if empty else float(heatmap[inside].sum() / heatmap.sum())
    return scores


def _summary(cases: pd.DataFrame, images: int, bootstrap: Bootstrap) -> dict[str, Any]:
    return {
        "cases": len(cases),
        "images": images,
        "region": f"where a map reaches {REGION:.0%} of its maximum",
        **{name: _figures(cases, name, bootstrap) for name in ("maps", *CONTROLS)},
        "gain_over": {name: _gain(cases, name, bootstrap) for name in CONTROLS},
        "findings": {
            finding: {
                "cases": len(of_finding),
                **_figures(of_finding, "maps", bootstrap),
                "controls": {name: round(float(of_finding[f"{name}_hit"].mean()), 4) for name in CONTROLS},
            }
            for finding, of_finding in cases.groupby("finding")
        },
    }


def _gain(cases: pd.DataFrame, control: str, bootstrap: Bootstrap) -> dict[str, Any]:
    """Return how much oftener the model's maps point into a box than a control, paired by case."""
    gains = (cases["maps_hit"] - cases[f"{control}_hit"]).to_numpy()
    (figure,) = bootstrap.figures(lambda rows: np.array([gains[rows].mean()]), cases["patient"].to_numpy())
    return dict(figure)


def _figures(cases: pd.DataFrame, name: str, bootstrap: Bootstrap) -> dict[str, Any]:
    hits, overlaps, energies = (cases[f"{name}_{score}"].to_numpy() for score in ("hit", "iou", "energy"))

    def statistic(rows: Rows) -> Any:
        above = ((overlaps[rows] > limit).mean() for limit in IOUS)
        return np.array([hits[rows].mean(), energies[rows].mean(), *above])

    pointing, energy, *above = bootstrap.figures(statistic, cases["patient"].to_numpy())
    return {"pointing_game": pointing, "energy": energy, "iou_above": dict(zip(map(str, IOUS), above, strict=True))}
