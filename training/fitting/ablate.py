"""What each change of a recipe gains: every variant fitted with every seed, at one budget of steps."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np

from training.ablation import Ablation, run_name
from training.errors import Busy, FitError
from training.fitting.history import HISTORY
from training.fitting.provenance import MODEL, PROVENANCE
from training.fitting.run import fit_run
from training.recipe import Recipe

TABLE = "ablation"


def ablate(data: Path, out: Path, recipe: Recipe, ablation: Ablation, *, cpu_asked_for: bool = False) -> dict[str, Any]:
    """Fit what is not fitted yet, and write what each variant gained on validation.

    Several processes may work on the same `out`: each fit belongs to the one that locks it first.

    Parameters
    ----------
    data, out : Path
    recipe : Recipe
        What is changed.
    ablation : Ablation
    cpu_asked_for : bool
        Fit on a CPU, however long it takes.

    Returns
    -------
    dict
        The table so far, also in ``ablation.json`` and ``ablation.md``.
    """
    out.mkdir(parents=True, exist_ok=True)
    for name, of_run in ablation.recipes(recipe).items():
        _fit_once(data, out / name, of_run, cpu_asked_for=cpu_asked_for)
    return write_table(out, ablation)


def _fit_once(data: Path, run: Path, recipe: Recipe, *, cpu_asked_for: bool) -> None:
    try:
        fit_run(data, run, recipe, resume=True, cpu_asked_for=cpu_asked_for)
    except Busy:
        print(f"{run.name} is being fitted by another process")  # noqa: T201
    except FitError as error:
        print(f"{run.name} has no figures: {error}")  # noqa: T201


def write_table(out: Path, ablation: Ablation) -> dict[str, Any]:
    """Compare the finished fits: the last epoch's figures, and the gain over the first variant seed by seed."""
    first = next(iter(ablation.variants))
    finished = {name: _figures(out, name, ablation.seeds) for name in ablation.variants}
    rows = {}
    for name, by_seed in finished.items():
        shared = sorted(set(by_seed) & set(finished[first]))
        rows[name] = {
            "changes": list(ablation.variants[name]),
            "seeds": sorted(by_seed),
            "by_seed": [by_seed[seed] for seed in sorted(by_seed)],
            **{key: _spread([by_seed[s][key] for s in by_seed]) for key in ("auc", "auc_within")},
            "gain": {
                key: _spread([by_seed[s][key] - finished[first][s][key] for s in shared])
                for key in ("auc", "auc_within")
            },
        }
    table = {"common": list(ablation.common), "compared_with": first, "variants": rows}
    (out / f"{TABLE}.json").write_text(json.dumps(table, indent=2) + "\n", encoding="utf-8")
    (out / f"{TABLE}.md").write_text(_markdown(table), encoding="utf-8")
    return table


def _figures(out: Path, name: str, seeds: tuple[int, ...]) -> dict[int, dict[str, float]]:
    """Return the number of training images and the last epoch's figures of each finished fit."""
    figures = {}
    for seed in seeds:
        run = out / run_name(name, seed)
        if (run / MODEL).exists():
            with (run / HISTORY).open(newline="") as file:
                *_, last = csv.DictReader(file)
            images = json.loads((run / PROVENANCE).read_text())["images"]["train"]
            figures[seed] = {"images": images, **{key: float(last[key]) for key in ("auc", "auc_within")}}
    return figures


def _spread(values: list[float]) -> dict[str, float | None] | None:
    """Return mean and standard deviation over seeds; the latter None with fewer than two."""
    if not values:
        return None
    return {"mean": float(np.mean(values)), "sd": float(np.std(values, ddof=1)) if len(values) > 1 else None}


def _markdown(table: dict[str, Any]) -> str:
    lines = [
        "# Ablation",
        "",
        f"Mean ROC-AUC over the findings on validation, last epoch, mean ± sd over seeds; gains over "
        f"“{table['compared_with']}” seed by seed. Common to all: {', '.join(table['common'])}.",
        "",
        "| variant | seeds | AUC | AUC within collections | gain | gain within collections |",
        "|---|---|---|---|---|---|",
    ]
    for name, row in table["variants"].items():
        figures = [row["auc"], row["auc_within"], row["gain"]["auc"], row["gain"]["auc_within"]]
        lines.append(f"| {name} | {len(row['seeds'])} | {' | '.join(map(_shown, figures))} |")
    return "\n".join(lines) + "\n"


def _shown(spread: dict[str, float | None] | None) -> str:
    if spread is None:
        return "–"
    return f"{spread['mean']:.3f}" + ("" if spread["sd"] is None else f" ± {spread['sd']:.3f}")
