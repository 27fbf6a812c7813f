"""The gate's figures as a table in the terminal."""

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

from export.gate import Limits, flips_count
from training.evaluation.predictions import MODES


def gate_table(found: Mapping[str, dict[str, Any]]) -> None:
    """Print figures by candidate, one TTA variant and all.

    Parameters
    ----------
    found : mapping
        Candidate → what `export.gate.verdict` returns.
    """
    for candidate, figures in found.items():
        table = Table("", "one TTA variant", "all", "limit", title=f"{candidate}, {figures['images']} images")
        for row in _rows(figures):
            table.add_row(*row)
        console = Console()
        console.print(table)
        verdict = "Over its limits." if figures["over_limits"] else "Passed."
        console.print(f"{_maps(figures['maps'])} {verdict}")


def _maps(maps: dict[str, float] | None) -> str:
    if maps is None:
        return "The bundle has no heat maps."
    return (
        f"Heat maps: correlation median {maps['correlation_median']:.4f}, 1st percentile "
        f"{maps['correlation_p1']:.3f}; same strongest cell {maps['same_strongest_cell']:.1%}; empty on one side "
        f"{maps['empty_on_one_side']:.2%}."
    )


def _rows(figures: dict[str, Any]) -> list[tuple[str, ...]]:
    modes, limits = [figures["tta_modes"][mode] for mode in MODES], figures["limits"]
    flip_limit = f"{limits['flips']:.2%}" if flips_count(figures, Limits(**limits)) else "too few images"
    return [
        ("max |Δp|", *(f"{m['probability']['max']:.2g}" for m in modes), f"{limits['probability']:g}"),
        (
            "max |Δp|, uncalibrated",
            *(f"{m['raw_probability']['max']:.2g}" for m in modes),
            f"{limits['probability']:g}",
        ),
        ("99th percentile of |Δp|", *(f"{m['probability']['p99']:.2g}" for m in modes), ""),
        *(
            (
                "flips, all points" if name == "all" else f"flips at {name}",
                *(f"{m['flips'][name]:.2%}" for m in modes),
                flip_limit if name == "all" else "",
            )
            for name in modes[0]["flips"]
        ),
        ("Δ mean AUC", *(change(m["mean_auc"]) for m in modes), f"±{limits['mean_auc']:g}"),
        ("Δ calibration error", *(change(m["calibration_error"]) for m in modes), ""),
    ]


def change(figure: Mapping[str, Any] | None) -> str:
    """Write a change with its interval."""
    if figure is None:
        return "no labels"
    low, high = figure["interval"]
    return f"{figure['value']:+.5f} ({low:+.5f} to {high:+.5f})"
