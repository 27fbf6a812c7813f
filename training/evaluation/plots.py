"""Plots of an evaluation: findings with their intervals, ROC curves, reliability, subgroups."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from sklearn.metrics import roc_curve

from training.evaluation.reliability import bins

STYLE: Any = {
    "axes.spines.top": False,
    "axes.spines.right": False,
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.titlelocation": "left",
    "legend.frameon": False,
}
BLUE, ORANGE, GREY = "#1f5a96", "#d1661c", "0.6"

#: A finding with fewer positive images gets no reliability curve.
FEWEST = 10


def write_plots(report: dict[str, Any], out: Path) -> list[Path]:
    """Write the plots of an evaluation as PNG.

    Parameters
    ----------
    report : dict
        As `training.evaluation.evaluate.evaluate` returns it, with ``curves``.
    out : Path
    """
    plots: dict[str, Callable[[dict[str, Any]], Figure]] = {
        "findings": _findings,
        "roc": _roc,
        "reliability": _reliability,
        "subgroups": _subgroups,
    }
    written = []
    for name, draw in plots.items():
        with mpl.rc_context(STYLE):
            figure = draw(report)
            figure.suptitle(
                f"{report['bundle']} · {report['part']}, {report['images']} images of {report['patients']} patients · "
                "research only",
                fontsize=8, color="0.35", x=0.01, ha="left",
            )  # fmt: skip
            figure.savefig(out / f"{name}.png", dpi=130)
        written.append(out / f"{name}.png")
    return written


def _grid(count: int) -> tuple[Figure, Any]:
    """Return a figure with so many small plots, five to a row; unused ones are hidden."""
    rows = -(-count // 5)
    figure = Figure(figsize=(10, 2.17 * rows), layout="constrained")
    grid = figure.subplots(rows, 5, sharex=True, sharey=True, squeeze=False).ravel()
    for unused in grid[count:]:
        unused.axis("off")
    return figure, grid[:count]


def _title(label: str) -> str:
    return label.replace("_", " ")


def _interval(axes: Any, place: float, figure: dict[str, Any], color: str) -> None:
    if figure["interval"] is not None:
        axes.plot(figure["interval"], [place, place], color=color, linewidth=1.5, solid_capstyle="butt")
    if figure["value"] is not None:
        axes.plot(figure["value"], place, "o", color=color, markersize=5)


def _findings(report: dict[str, Any]) -> Figure:
    """Draw each finding's ROC-AUC with its interval, best first."""
    of_mode = report["tta_modes"][report["default_tta_mode"]]
    rows = sorted(of_mode["findings"].items(), key=lambda item: item[1]["auc"]["value"] or 0)
    figure = Figure(figsize=(7.5, 1.2 + 0.27 * len(rows)), layout="constrained")
    axes = figure.subplots()
    for place, (_, row) in enumerate(rows):
        _interval(axes, place, row["auc"], BLUE)
    _interval(axes, len(rows) + 0.5, of_mode["mean"]["auc"], ORANGE)
    names = [f"{_title(label)} ({row['positive']})" for label, row in rows]
    axes.set_yticks([*range(len(rows)), len(rows) + 0.5], [*names, "Mean of the findings"])
    axes.axvline(0.5, color=GREY, linestyle=":", linewidth=1)
    axes.set_xlim(0.35, 1)
    axes.set_xlabel("ROC-AUC with its 95 % interval (0.5: chance); in brackets: images with the finding")
    return figure


def _roc(report: dict[str, Any]) -> Figure:
    """Draw each finding's ROC curve, with the operating points on it."""
    curves, points = report["curves"], report["operating_points"]
    figure, grid = _grid(len(report["findings"]) + 1)
    markers = dict(zip(points, "osD^v", strict=False))
    for axes, (i, label) in zip(grid, enumerate(report["findings"]), strict=False):
        known = ~np.isnan(curves["truth"][:, i])
        truth = curves["truth"][known, i]
        axes.plot([0, 1], [0, 1], color=GREY, linestyle=":", linewidth=1)
        axes.set_title(_title(label))
        if not 0 < truth.sum() < len(truth):
            continue
        false_positives, sensitivity, _ = roc_curve(truth, curves["raw"][known, i])
        axes.plot(false_positives, sensitivity, color=BLUE)
        for name, marker in markers.items():
            at = points[name]["findings"][label]
            axes.plot(1 - at["specificity"]["value"], at["recall"]["value"], marker, color=ORANGE, markersize=5)
    grid[-1].axis("off")
    grid[-1].legend(
        [mpl.lines.Line2D([], [], marker=marker, color=ORANGE, linestyle="") for marker in markers.values()],
        list(markers), title="Operating points", loc="center",
    )  # fmt: skip
    figure.supxlabel("False positives among healthy of that finding (1 - specificity)", fontsize=9)
    figure.supylabel("Found among those that have it (sensitivity)", fontsize=9)
    return figure


def _reliability(report: dict[str, Any]) -> Figure:
    """Draw frequency against probability, before and after calibration."""
    curves = report["curves"]
    figure, grid = _grid(len(report["findings"]) + 1)
    for axes, (i, label) in zip(grid, enumerate(report["findings"]), strict=False):
        axes.set_title(_title(label))
        known = ~np.isnan(curves["truth"][:, i])
        if np.nansum(curves["truth"][:, i]) >= FEWEST:
            _reliability_curves(axes, curves, (slice(None), [i]), known)
        else:
            axes.text(0.05, 0.9, f"fewer than {FEWEST} images", fontsize=8, color="0.4", transform=axes.transAxes)
        axes.plot([0, 1], [0, 1], color=GREY, linestyle=":", linewidth=1)
    together = grid[-1]
    together.set_title("All findings together")
    together.plot([0, 1], [0, 1], color=GREY, linestyle=":", linewidth=1)
    for name, color in (("before", GREY), ("after", BLUE)):
        pooled = report["calibration"][name]["bins"]
        together.plot([b["probability"] for b in pooled], [b["frequency"] for b in pooled], "o-", color=color,
                      markersize=3, label=f"{name} calibration")  # fmt: skip
    together.legend(loc="upper left", fontsize=8)
    figure.supxlabel("Emitted probability", fontsize=9)
    figure.supylabel("Share that truly has the finding", fontsize=9)
    return figure


def _reliability_curves(axes: Any, curves: dict[str, Any], column: Any, known: Any) -> None:
    truth = curves["truth"][column][known].ravel()
    for scores, color in ((curves["raw"], GREY), (curves["calibrated"], BLUE)):
        found = bins(truth, scores[column][known].ravel())
        axes.plot([b["probability"] for b in found], [b["frequency"] for b in found], "o-", color=color, markersize=3)


def _subgroups(report: dict[str, Any]) -> Figure:
    """Draw the mean ROC-AUC of every subgroup with its interval."""
    rows = [
        (f"{criterion}: {name} ({group['images']} images, {group['findings_measured']} findings)", group["mean_auc"])
        for criterion, groups in report["subgroups"].items()
        for name, group in groups.items()
    ][::-1]
    figure = Figure(figsize=(8, 1.2 + 0.28 * (len(rows) + 1)), layout="constrained")
    axes = figure.subplots()
    for place, (_, mean) in enumerate(rows):
        _interval(axes, place, mean, BLUE)
    overall = report["tta_modes"][report["default_tta_mode"]]["mean"]["auc"]
    _interval(axes, len(rows), overall, ORANGE)
    axes.set_yticks(range(len(rows) + 1), [*(name for name, _ in rows), f"all ({report['images']} images)"])
    axes.axvline(0.5, color=GREY, linestyle=":", linewidth=1)
    axes.set_xlabel("Mean ROC-AUC with its 95 % interval, over the findings measured there")
    return figure
