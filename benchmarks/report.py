"""The figures of a run as Markdown and as a plot, and their changes since an older run."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

#: Rounds that each run needs to distinguish a change from noise.
ENOUGH_ROUNDS: Final = 3

Record = Mapping[str, Any]


def to_markdown(record: Record) -> str:
    """Return the rows, the contestants with their settings, and the machine, as Markdown."""
    return "\n\n".join(
        ["# Comparisons", _opening(record), _rows(record), *_comparisons(record), _gates(record), _machine(record)]
    )


def compare(old: Record, new: Record) -> str:
    """Return the changes row by row, as Markdown.

    A change is within noise if it is at most half the sum of the widths of both intervals from 10th to 90th
    percentile, which is about when the two intervals overlap.
    """
    lines = ["| figure | before | now | change | verdict |", "|---|---|---|---|---|"]
    for name in {**old["rows"], **new["rows"]}:
        before, now = old["rows"].get(name), new["rows"].get(name)
        lines.append(f"| {(now or before)['title']} | {_short(before)} | {_short(now)} | {_judge(before, now)} |")
    return "\n".join(["# What changed", *_conditions(old, new), "", *lines])


def plot(record: Record, path: Path) -> bool:
    """Draw the ratios as horizontal bars on a logarithmic axis, their spread and their targets marked.

    Returns
    -------
    bool
        False if no ratio was measured; then nothing is drawn.
    """
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib import pyplot as plt

    rows = [row for row in record["rows"].values() if "median" in row and row["kind"] != "memory"]
    if not rows:
        return False
    figure, axes = plt.subplots(figsize=(10, 1.2 + 0.4 * len(rows)), layout="constrained")
    places = range(len(rows), 0, -1)
    medians = [row["median"] for row in rows]
    errors = [[row["median"] - row["p10"] for row in rows], [row["p90"] - row["median"] for row in rows]]
    axes.barh(places, medians, height=0.6, color="#4c78a8", xerr=errors, ecolor="#222222", capsize=2)
    for key, colour, label in (("target", "#e45756", "at least (cost: at most)"), ("beyond", "#54a24b", "beyond")):
        marked = [(row[key], place) for row, place in zip(rows, places, strict=True) if row[key] is not None]
        axes.scatter(
            *zip(*marked, strict=True), marker="|", s=250, color=colour, label=label, zorder=3
        ) if marked else 0
    axes.set_yticks(places, [row["title"] for row in rows])
    axes.set_xscale("log")
    axes.axvline(1, color="#888888", linewidth=0.8)
    axes.set_xlabel(f"ratio, median and 10th to 90th percentile of {record['rounds']} rounds")
    axes.set_title(f"{record['bundle']} on {record['machine']['processor']}", fontsize=9)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc="lower right", fontsize=8)
    figure.savefig(path, dpi=120)
    plt.close(figure)
    return True


def _opening(record: Record) -> str:
    return (
        f"{record['bundle']}; {record['images']} images; {record['rounds']} rounds after {record['warm_up']} that is "
        "not counted, every contestant once in each round, in alternating order, one at a time in processes of their "
        "own. Figures are medians over the rounds, with their 10th and 90th percentile."
    )


def _rows(record: Record) -> str:
    lines = [
        "| figure | boundary | measured | 10–90 % | n | target | beyond | reached |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in record["rows"].values():
        sign = "≥" if row["kind"] == "speed" else "≤"
        targets = " | ".join("" if row[key] is None else f"{sign} {row[key]:g}" for key in ("target", "beyond"))
        head = f"| {row['title']} | {row['boundary']} |"
        if "not_measured" in row:
            lines.append(f"{head} not measured: {_cell(row['not_measured'])} | | | {targets} | |")
            continue
        spread = f"{_number(row['p10'])}–{_number(row['p90'])}"
        lines.append(f"{head} **{_number(row['median'])}** | {spread} | {row['n']} | {targets} | {_reached(row)} |")
    return "\n".join(lines)


def _reached(row: Record) -> str:
    if row["reaches_target"] is None:
        return ""
    if row["reaches_beyond"]:
        return "beyond"
    return "yes" if row["reaches_target"] else "**no**"


def _comparisons(record: Record) -> list[str]:
    return [_contestants(name, measured) for name, measured in record["comparisons"].items()]


def _contestants(name: str, measured: Record) -> str:
    lines = [
        f"## {name}: {measured['title']}",
        "",
        f"{measured['boundary']}; images: {measured['images']}.",
        "",
        f"| contestant | {measured['unit']} | 10–90 % | seconds | peak MB | max abs. Δp | settings |",
        "|---|---|---|---|---|---|---|",
    ]
    for contestant, found in measured["contestants"].items():
        if "rate" not in found:
            lines.append(
                f"| {contestant} | not measured: {_cell(found.get('failed') or found['not_measured'])} | | | | | |"
            )
            continue
        rate, difference = found["rate"], found.get("max_difference")
        seconds = sorted(found["seconds"])[len(found["seconds"]) // 2]
        deviation = "" if difference is None else f"{difference:.1e}"
        deviation += f" **{_cell(found['failed'])}**" if "failed" in found else ""
        memory = "" if found["peak_mb"] is None else f"{found['peak_mb']:.0f}"
        settings = "; ".join(f"{key}: {value}" for key, value in found["settings"].items())
        lines.append(
            f"| {contestant} | {_number(rate['median'])} | {_number(rate['p10'])}–{_number(rate['p90'])} | "
            f"{seconds:.4g} | {memory} | {deviation} | {_cell(settings)} |"
        )
    return "\n".join(lines)


def _gates(record: Record) -> str:
    """Return the gate figures of the measured variants; the JSON contains all of them."""
    lines = ["## Gates of the variants that were measured", ""]
    for precision, gate in record["gates"].items():
        lines.append(f"- `{precision}`: {', '.join(f'{key} {value}' for key, value in gate.items())}")
    return "\n".join(lines)


def _machine(record: Record) -> str:
    machine = record["machine"]
    packages = ", ".join(f"{name} {version}" for name, version in machine["packages"].items() if version)
    rest = {key: value for key, value in machine.items() if key != "packages"}
    lines = ["## Machine", "", *(f"- {key}: {value}" for key, value in rest.items()), f"- packages: {packages}"]
    return "\n".join(lines)


def _judge(before: Record | None, now: Record | None) -> str:
    if before is None or now is None:
        return "| not in the old run" if before is None else "| not in this run"
    if "median" not in before or "median" not in now:
        return "| not comparable: not measured in both"
    change = now["median"] / before["median"] - 1
    cell = f"{change:+.1%} | "
    if before["kind"] == "memory":
        noise = 0.05 * before["median"]  # one figure a run, which differs by a few percent between two runs
    elif min(before["n"], now["n"]) < ENOUGH_ROUNDS:
        return f"{cell}too few rounds"
    else:
        noise = (before["p90"] - before["p10"] + now["p90"] - now["p10"]) / 2
    if abs(now["median"] - before["median"]) <= noise:
        return f"{cell}within noise"
    return f"{cell}{'better' if (change > 0) == (now['kind'] == 'speed') else 'worse'}"


def _conditions(old: Record, new: Record) -> list[str]:
    """Return what else differs between two runs, or it would be mistaken for a change of the code."""
    pairs = {
        "bundle": (old["bundle"], new["bundle"]),
        "images": (old["images"], new["images"]),
        "processor": (old["machine"]["processor"], new["machine"]["processor"]),
        "usable cores": (old["machine"]["usable_cores"], new["machine"]["usable_cores"]),
    }
    packages = old["machine"]["packages"].keys() | new["machine"]["packages"].keys()
    for name in sorted(packages):
        pairs[name] = (old["machine"]["packages"].get(name), new["machine"]["packages"].get(name))
    changed = [f"- {name}: {before}, now {now}" for name, (before, now) in pairs.items() if before != now]
    return ["", "Not under the same conditions:", "", *changed] if changed else []


def _short(row: Record | None) -> str:
    if row is None or "median" not in row:
        return "–"
    return f"{_number(row['median'])} ({_number(row['p10'])}–{_number(row['p90'])})"


def _number(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "/").split())
