"""The history of a fit: a CSV, and a plot of the training curves."""

import csv
import os
from itertools import pairwise
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

CURVES = "training_curves.png"
HISTORY = "history.csv"


def write_history(run: Path, rows: list[dict[str, Any]]) -> None:
    """Write ``history.csv`` and ``training_curves.png`` anew; each file is replaced whole or not at all.

    Parameters
    ----------
    run : Path
    rows : list of dict
        With stage, epoch, loss, val_loss, auc, auc_within.
    """
    part = run / f"{HISTORY}.part"
    with part.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    os.replace(part, run / HISTORY)
    picture = run / f"part-{CURVES}"
    training_curves(rows).savefig(picture, dpi=120)
    os.replace(picture, run / CURVES)


def training_curves(rows: list[dict[str, Any]]) -> Figure:
    """Draw losses and validation AUC by epoch, stages one after the other."""
    with mpl.rc_context({"axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "grid.alpha": 0.3}):
        figure = Figure(figsize=(9, 3.5), layout="constrained")
        losses, aucs = figure.subplots(1, 2)
    epochs = range(1, len(rows) + 1)
    for axes, keys in ((losses, {"loss": "training", "val_loss": "validation"}),
                       (aucs, {"auc": "pooled", "auc_within": "within collections"})):  # fmt: skip
        for key, label in keys.items():
            axes.plot(epochs, [row[key] for row in rows], marker=".", label=label)
        axes.set_xlabel("epoch")
        axes.legend(frameon=False)
        for place, (before, after) in enumerate(pairwise(rows), 1):
            if before["stage"] != after["stage"]:
                axes.axvline(place + 0.5, color="0.6", linestyle=":")
    losses.set_title("Loss")
    aucs.set_title("Mean ROC-AUC on validation")
    return figure
