"""What more training images would give: a power law through fits on parts of a data set."""

import json
from pathlib import Path
from typing import Any, Final

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from training.errors import DataError
from training.evaluation.plots import BLUE, GREY, STYLE
from training.evaluation.resampling import PERCENTILES, Floats

#: File names without suffix.
NAME: Final = "learning_curve"

#: Figures of a fit, by what they are called in a report.
FIGURES: Final = {"auc_within": "within collections", "auc": "pooled"}

#: Sizes of the training part that three unknowns need at least.
FEWEST_SIZES: Final = 4

RESAMPLES: Final = 1000

#: Power of the number of images by which errors of learned models fall (Hestness et al. 2017): flatter and steeper
#: ones cannot be told from a straight line, or from a jump, at a few sizes.
_POWERS: Final = np.arange(0.05, 1.005, 0.01)


def read_fits(table: Path) -> dict[str, npt.NDArray[np.float64]]:
    """Read the fits of an ablation whose variants differ in the number of training images.

    Parameters
    ----------
    table : Path
        Its ``ablation.json``.

    Returns
    -------
    dict of ndarray, (N,) float64
        ``variant`` (its place in the table), ``images``, and the keys of `FIGURES`, one number for each fit.

    Raises
    ------
    DataError
        No such table, or fits of too few sizes.
    """
    if not table.is_file():
        raise DataError(f"expected {table.name} of `python -m training ablate` in {table.parent}, found none")
    variants = json.loads(table.read_text())["variants"].values()
    rows = [(place, fit) for place, variant in enumerate(variants) for fit in variant["by_seed"]]
    if (sizes := len({place for place, _ in rows})) < FEWEST_SIZES:
        raise DataError(f"{table}: expected fits of {FEWEST_SIZES} numbers of training images or more, got {sizes}")
    columns = {key: np.array([fit[key] for _, fit in rows], np.float64) for key in ("images", *FIGURES)}
    return {"variant": np.array([place for place, _ in rows], np.float64), **columns}


def extrapolate(fits: dict[str, npt.NDArray[np.float64]], targets: tuple[int, ...], seed: int = 0) -> dict[str, Any]:
    """Fit AUC = limit - b · images^-c, and predict it at other numbers of images.

    The intervals draw each fit anew around the mean of its variant, with the standard deviation that fits of one
    variant have on average (by seed and choice of images). They leave out what is common to all fits: the
    validation images, and that the power law itself may not go on.

    Parameters
    ----------
    fits : dict
        As `read_fits` returns them.
    targets : tuple of int
        Numbers of images.
    seed : int

    Returns
    -------
    dict
        Key of `FIGURES` → ``fits`` ([images, figure] of each), ``curve`` (``limit``, ``b``, ``c``), ``sd``, and
        ``predicted``: number of images → ``value`` and ``interval``, the 95 % percentile interval.

    Raises
    ------
    DataError
        No variant has two fits.
    """
    rng = np.random.default_rng(seed)
    found = {}
    for key in FIGURES:
        means, sd = _means_and_sd(fits[key], fits["variant"])
        (curve,) = _power_laws(fits["images"], fits[key][None])
        drawn = _power_laws(fits["images"], rng.normal(means, sd, (RESAMPLES, len(means))))
        found[key] = {
            "fits": [[int(n), float(figure)] for n, figure in zip(fits["images"], fits[key], strict=True)],
            "curve": dict(zip(("limit", "b", "c"), curve.tolist(), strict=True)),
            "sd": sd,
            "predicted": {
                str(n): {
                    "value": float(at(curve, n)),
                    "interval": np.percentile(at(drawn.T, n), PERCENTILES).tolist(),
                }
                for n in targets
            },
        }
    return found


def at(curve: Floats, images: Any) -> Any:
    """Evaluate a curve (limit, b, c) at numbers of images."""
    limit, b, c = curve
    return limit - b * np.asarray(images, np.float64) ** -c


def _means_and_sd(figures: Floats, variants: Floats) -> tuple[Floats, float]:
    """Return the mean of each fit's variant, and the standard deviation about them."""
    means = np.array([figures[variants == variant].mean() for variant in variants])
    free = len(figures) - len(np.unique(variants))
    if not free:
        raise DataError("expected two seeds or more of a number of training images: without, no interval is known")
    return means, float(np.sqrt(((figures - means) ** 2).sum() / free))


def _power_laws(images: Floats, figures: Floats) -> npt.NDArray[np.float64]:
    """Fit limit, b and c by least squares to each row of figures: for a given c, the others follow linearly.

    Parameters
    ----------
    images : ndarray, (N,)
    figures : ndarray, (K, N)

    Returns
    -------
    ndarray, (K, 3) float64
        With b of 0, a constant, where no rising curve with a limit of at most 1 fits better.
    """
    best = np.column_stack([figures.mean(axis=1), np.zeros(len(figures)), np.full(len(figures), _POWERS[0])])
    least = ((figures - best[:, :1]) ** 2).sum(axis=1)
    for power in _POWERS:
        design = np.column_stack([np.ones(len(images)), -(images**-power)])
        solved = figures @ np.linalg.pinv(design).T
        missed = ((solved @ design.T - figures) ** 2).sum(axis=1)
        better = (missed < least) & (solved[:, 0] <= 1) & (solved[:, 1] >= 0)
        best[better] = np.column_stack([solved, np.full(len(solved), power)])[better]
        least[better] = missed[better]
    return best


def write_learning_curve(found: dict[str, Any], out: Path) -> list[Path]:
    """Write ``learning_curve.json``, ``.md`` and ``.png``."""
    json_file, md_file, picture = (out / f"{NAME}.{suffix}" for suffix in ("json", "md", "png"))
    json_file.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    md_file.write_text(_markdown(found), encoding="utf-8")
    with mpl.rc_context(STYLE):
        _plot(found).savefig(picture, dpi=130)
    return [json_file, md_file, picture]


def _markdown(found: dict[str, Any]) -> str:
    lines = [
        "# Learning curve",
        "",
        "Mean ROC-AUC over the findings on validation, last epoch. Beyond the largest number of images: a power law "
        "through all fits. Its 95 % intervals hold what seeds and the choice of images change, not the validation "
        "images, which are the same for all, nor whether the law goes on.",
        "",
    ]
    for key, title in FIGURES.items():
        figure = found[key]
        lines += [f"## {title.capitalize()}", "", "| training images | fits | ROC-AUC |", "|---|---|---|"]
        points = np.array(figure["fits"])
        for n in sorted(set(points[:, 0])):
            values = points[points[:, 0] == n, 1]
            lines.append(f"| {n:,.0f} | {len(values)} | {' '.join(f'{value:.3f}' for value in values)} |")
        for n, predicted in figure["predicted"].items():
            low, high = predicted["interval"]
            lines.append(f"| {int(n):,} | extrapolated | {predicted['value']:.3f} ({low:.3f} to {high:.3f}) |")
        curve = figure["curve"]
        lines += ["", f"Power {curve['c']:.2f}, limit {curve['limit']:.3f}, sd of a fit {figure['sd']:.4f}.", ""]
    return "\n".join(lines).rstrip() + "\n"


def _plot(found: dict[str, Any]) -> Figure:
    figure = Figure(figsize=(9, 3.5), layout="constrained")
    for axes, (key, title) in zip(figure.subplots(1, 2), FIGURES.items(), strict=True):
        drawn = found[key]
        points = np.array(drawn["fits"])
        line = np.geomspace(points[:, 0].min(), max(points[:, 0].max(), *map(int, drawn["predicted"])))
        axes.plot(line, at(np.array(list(drawn["curve"].values())), line), color=GREY)
        axes.plot(*points.T, "o", color=BLUE, markersize=4)
        for n, predicted in drawn["predicted"].items():
            low, high = predicted["interval"]
            axes.plot([int(n)] * 2, [low, high], color=BLUE)
            axes.plot(int(n), predicted["value"], "o", color="white", markeredgecolor=BLUE)
        axes.set_xscale("log")
        axes.set_xlabel("training images")
        axes.set_title(f"Mean ROC-AUC, {title}")
    return figure
