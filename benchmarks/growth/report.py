"""The figures as Markdown and as a plot."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.growth.series import ONE_ROUND


def markdown(figures: Mapping[str, Any]) -> str:
    """Return the four tables as Markdown."""
    fit = figures["images"]["fit"]
    parts = [
        "# Growth",
        f"{figures['bundle']} on {figures['machine']['processor']}, {figures['machine']['cores']} cores; one TTA "
        "variant, from PNG files; images/s over the whole process, and after its first result; medians of "
        f"{figures['rounds']} rounds (one from {ONE_ROUND} images on); memory: resident, the highest of all rounds.",
        _table("images", figures["images"]["rows"]),
        "One count: no line can be fitted."
        if fit is None
        else f"Seconds = {fit['start_up_s']:.2f} + images x {fit['ms_per_image']:.2f} ms (R² {fit['r_squared']:.5f}).",
        _table("side", figures["size"]["rows"]),
        figures["cores"].get("skipped") or _table("cores", figures["cores"]["rows"]),
        "The network alone, one thread, by images in a call:",
        _table("batch", figures["batch"]["rows"]),
    ]
    return "\n\n".join(parts)


def plot(figures: Mapping[str, Any], file: Path) -> None:
    """Draw throughput and peak memory, with a panel for each table."""
    import matplotlib as mpl  # imported here because it is needed only with --out

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    panels = {"images": "images", "size": "side", "cores": "cores", "batch": "batch"}
    titles = (
        "Number of images",
        "Longer side of an image, pixels",
        "Cores",
        "Images in a call (network alone, 1 thread)",
    )
    figure, axes = plt.subplots(2, 2, figsize=(10, 7), layout="constrained")
    for panel, (part, key), title in zip(axes.flat, panels.items(), titles, strict=True):
        rows = figures[part]["rows"]
        if not rows:
            panel.set_title(f"{title}: {figures[part]['skipped']}")
            continue
        values = [row[key] for row in rows]
        panel.set(title=title, xscale="log")
        _curve(panel, values, [row["images_per_second"] for row in rows], "images/s", "tab:blue")
        _curve(panel.twinx(), values, [row["peak_mib"] for row in rows], "peak resident memory, MiB", "tab:red")
        panel.set_xticks(values, [str(value) for value in values])
        panel.minorticks_off()
    figure.savefig(file, dpi=120)
    plt.close(figure)


def _curve(axes: Any, values: Sequence[int], heights: Sequence[float], label: str, color: str) -> None:
    axes.plot(values, heights, "o-", color=color)
    axes.set_ylabel(label, color=color)
    axes.set_ylim(0, 1.1 * max(heights))


def _table(key: str, rows: Sequence[Mapping[str, Any]]) -> str:
    """Write a Markdown table of the columns that the rows have."""
    columns: dict[str, Callable[[Mapping[str, Any]], str]] = {
        key: lambda row: str(row[key]),
        "images/s": lambda row: f"{row['images_per_second']:.1f}",
    }
    if "images_per_second_after_first" in rows[0]:
        columns["after the first"] = lambda row: _rounded(row["images_per_second_after_first"])
    columns["rounds"] = lambda row: str(row["rounds"])
    columns["peak MiB"] = lambda row: f"{row['peak_mib']:.0f}"
    if key == "images":
        columns["MiB at 10 / 50 / 100 %"] = lambda row: " / ".join(f"{mib:.0f}" for mib in row["at_mib"].values())
        columns["flat"] = lambda row: {True: "yes", False: "no", None: "too short"}[row["flat"]]
    lines = [list(columns), ["---"] * len(columns), *([cell(row) for cell in columns.values()] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _rounded(rate: float | None) -> str:
    return "–" if rate is None else f"{rate:.1f}"
