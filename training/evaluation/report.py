"""The report of an evaluation as Markdown."""

from collections.abc import Iterable, Sequence
from typing import Any

from cxr_edge.model.manifest import MAP_METHODS
from cxr_edge.model.results import NOTICE
from training.evaluation.figures import AT_THRESHOLD
from training.evaluation.resampling import LEAST_PATIENTS

_HEAD = """\
# {bundle}: evaluation on {part} images

**{notice}**

{images} images of {patients} patients, of {gathered}. Held out: {held_out}. Figures with 95 % intervals from
{resamples} bootstrap resamples of the patients. Default TTA mode: {default_tta_mode}.
{optimistic}"""

_OPTIMISTIC = """
Calibration and thresholds were fitted on these images: figures after calibration and at operating points are
optimistic.
"""


def markdown(report: dict[str, Any]) -> str:
    """Write the report.

    Parameters
    ----------
    report : dict
        The content of ``evaluation.json``.
    """
    sections = [
        _HEAD.format(
            notice=NOTICE,
            gathered=gathered(report),
            optimistic=_OPTIMISTIC if report["part"] == "validation" else "",
            **report,
        ),
        ranking_section(report),
        tta_section(report),
        *[operating_point_section(report, name) for name in report["operating_points"]],
        adaptive_section(report),
        calibration_section(report),
        subgroup_section(report),
        sharpness_section(report),
        localisation_section(report),
        comparison_section(report),
        unreadable_section(report),
    ]
    return "\n".join(section for section in sections if section)


def card_figures(validation: dict[str, Any], test: Sequence[dict[str, Any]], looks: int) -> str:
    """Write the figures of a model card: all of the test part, and validation beside it where thresholds come from.

    Parameters
    ----------
    validation : dict
        The content of ``evaluation.json``.
    test : sequence of dict
        Those of the test part, of the whole or of several collections each: the first with all figures.
    looks : int
        Test looks so far, at this and at earlier models.
    """
    first, *others = test
    head = (
        f"# What it was measured at\n\n{'; '.join(_measured_on(report) for report in test)}. "
        f"Held out: {first['held_out']}. Intervals: 95 %, {first['resamples']} bootstrap resamples of the patients. "
        f"The test part has been looked at {looks} times, for this model and others; see the notes.\n"
    )
    sections = [
        head,
        side_by_side_section(validation, test),
        ranking_section(first),
        tta_section(first),
        *[operating_point_section(first, name) for name in first["operating_points"]],
        adaptive_section(first),
        subgroup_section(first),
        sharpness_section(first),
        localisation_section(first),
        comparison_section(first),
    ]
    for report in others:
        points = [operating_point_section(report, name) for name in report["operating_points"]]
        sections += [f"# {_measured_on(report)}\n", ranking_section(report), *points, comparison_section(report)]
    return "\n".join(section for section in sections if section)


def _measured_on(report: dict[str, Any]) -> str:
    part, images, patients = report["part"].capitalize(), report["images"], report["patients"]
    return f"{part} part, {gathered(report)}: {images} images of {patients} patients"


def gathered(report: dict[str, Any]) -> str:
    """Name the collections that the images of a report are from."""
    names = report["collections"]
    return f"collection {names[0]}" if len(names) == 1 else f"collections {', '.join(names)}"


def side_by_side_section(validation: dict[str, Any], test: Sequence[dict[str, Any]]) -> str:
    """Write how what was fitted on validation performs on the test part."""
    reports = [validation, *test]
    rows = []
    for name, mode in (("one TTA variant", "single"), ("all variants", "tta")):
        means = [report["tta_modes"][mode]["mean"] for report in reports]
        rows.append((f"ROC-AUC, {name}", *(shown(mean["auc"]) for mean in means)))
        rows.append((f"ROC-AUC within collections, {name}", *(shown(mean["auc_within"]) for mean in means)))
    for name in validation["operating_points"]:
        points = [report["operating_points"][name]["mean"] for report in reports]
        rows += [(f"{key} at `{name}`", *(shown(point[key]) for point in points)) for key in AT_THRESHOLD]
    for when in ("before", "after"):
        sides = [report["calibration"][when]["mean"] for report in reports]
        rows += [(f"{key} {when} calibration", *(shown(side[key]) for side in sides)) for key in ("ece", "brier")]
    return (
        "## Validation and test side by side\n\n"
        f"Means over the findings. {_measured_on(validation)}. Calibration and thresholds were fitted on "
        f"{validation['calibration']['fitted_on']}: probabilities hold where findings are as frequent as there.\n\n"
        + table(("mean of", *(f"{report['part']}, {gathered(report)}" for report in reports)), rows)
    )


def ranking_section(report: dict[str, Any]) -> str:
    """Write ROC-AUC and average precision by finding."""
    single, tta = (report["tta_modes"][mode] for mode in ("single", "tta"))
    rows = [
        (
            "**mean**",
            "",
            shown(single["mean"]["auc"]),
            shown(tta["mean"]["auc"]),
            shown(tta["mean"]["average_precision"]),
        )
    ]
    for label, of_tta in tta["findings"].items():
        of_single = single["findings"][label]
        rows.append((label, of_tta["positive"], shown(of_single["auc"]), shown(of_tta["auc"]),
                     shown(of_tta["average_precision"])))  # fmt: skip
    within = ", ".join(f"{name} {shown(of_mode['mean']['auc_within'])}" for name, of_mode in
                       (("one TTA variant", single), ("all variants", tta)))  # fmt: skip
    return (
        "## Ranking\n\n"
        + table(
            ("finding", "positive images", "ROC-AUC, one TTA variant", "ROC-AUC, all", "average precision, all"),
            rows,
        )
        + f"\nMean ROC-AUC with images ranked only against images of their own collection: {within}.\n"
        + _of_frequent(tta.get("mean_frequent"))
    )


def _of_frequent(mean: dict[str, Any] | None) -> str:
    """Write the mean without the findings of hardly any patient."""
    if mean is None:
        return ""
    return (
        f"\nThe other findings are of fewer than {LEAST_PATIENTS} patients with or without them, and weigh as much in "
        f"the mean. Over {mean['findings']} findings of more, all variants: {shown(mean['auc'])}, within collections "
        f"{shown(mean['auc_within'])}.\n"
    )


def tta_section(report: dict[str, Any]) -> str:
    """Write what all TTA variants gain over one, where there are more."""
    if report["tta_gain"] is None:
        return ""
    gain = report["tta_gain"]["mean"]
    return (
        "## What TTA gains\n\n"
        f"Mean ROC-AUC with all TTA variants {shown(gain['second'])}, with one {shown(gain['first'])};\n"
        f"difference, paired: {signed(gain['difference'])}.\n"
    )


def operating_point_section(report: dict[str, Any], name: str) -> str:
    """Write precision, recall, F1 and specificity at one operating point."""
    point = report["operating_points"][name]
    rows = [("**mean**", "", *(shown(point["mean"][key]) for key in AT_THRESHOLD))]
    rows += [
        (label, f"{row['threshold']:.3f}", *(shown(row[key]) for key in AT_THRESHOLD))
        for label, row in point["findings"].items()
    ]
    return f"## Operating point `{name}`\n\n" + table(("finding", "threshold", *AT_THRESHOLD), rows)


def adaptive_section(report: dict[str, Any]) -> str:
    """Write what stopping early changes."""
    if not report["adaptive"]:
        return ""
    rows = [
        (f"`{name}`", _percent(found["agreement"]), _with_interval(found["variants"], ".2f"))
        for name, found in report["adaptive"].items()
    ]
    return (
        "## Stopping early\n\nThe first variants decide where they can; the others are evaluated where one of "
        "the findings lies within its margin of the threshold.\n\n"
        + table(("operating point", "image-findings decided as by all variants", "variants of an image, mean"), rows)
    )


def _percent(figure: dict[str, Any]) -> str:
    low, high = figure["interval"]
    return f"{figure['value']:.3%} ({low:.3%} to {high:.3%})"


def calibration_section(report: dict[str, Any]) -> str:
    """Write Brier score and calibration error before and after calibration."""
    before, after = (report["calibration"][key] for key in ("before", "after"))
    rows = [("**mean**", *_calibration_cells(before["mean"], after["mean"]))]
    rows += [
        (label, *_calibration_cells(before["findings"][label], after["findings"][label])) for label in after["findings"]
    ]
    heads = ("finding", "ECE before", "ECE after", "Brier before", "Brier after")
    return f"## Calibration\n\nFitted on {report['calibration']['fitted_on']}.\n\n" + table(heads, rows)


def _calibration_cells(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    return [shown(side[key]) for key in ("ece", "brier") for side in (before, after)]


def subgroup_section(report: dict[str, Any]) -> str:
    """Write the mean ROC-AUC by subgroup."""
    rows = [
        (criterion, name, group["images"], group["patients"], group["findings_measured"], shown(group["mean_auc"]))
        for criterion, groups in report["subgroups"].items()
        for name, group in groups.items()
    ]
    if not rows:
        return ""
    return (
        "## Subgroups\n\nMeans are over the findings of which the group has images with and without; means over "
        "different findings cannot be compared.\n\n"
        + table(("by", "group", "images", "patients", "findings", "mean ROC-AUC"), rows)
    )


def sharpness_section(report: dict[str, Any]) -> str:
    """Write how the same images are ranked after they were reduced."""
    found = report.get("sharpness")
    if not found:
        return ""
    rows = [
        (title, shown(found[key]["first"]), shown(found[key]["second"]), signed(found[key]["difference"]))
        for key, title in (("mean", "pooled"), ("mean_within", "within collections"))
    ]
    side = found["reduced_to"]
    return (
        "## Sharpness\n\n"
        f"The same images as they are, and reduced to {side} pixels and enlarged again: what the ranking owes to "
        "detail, and to how sharp an image is. The median of a probability's change is "
        f"{found['change']['median']:.3f}, in log-odds {found['change']['median_log_odds']:.2f}.\n\n"
        + table(("mean ROC-AUC", f"reduced to {side} pixels", "as they are", "difference, paired"), rows)
    )


def localisation_section(report: dict[str, Any]) -> str:
    """Write how heat maps agree with radiologists' boxes."""
    found = report["localisation"]
    if not found:
        return ""
    method = MAP_METHODS[found["method"]]
    names = {
        "maps": method,
        "mean_box": "control: mean box of the finding, other patients",
        "mean_map": "control: mean map of the finding, other patients",
        "centred": "control: centred",
        "random": "control: random",
    }
    # Figures that were recorded before the controls by finding have none of them.
    rows = [(name, found["cases"], *_localisation_cells(found[key])) for key, name in names.items() if key in found]
    rows += [
        (f"{method}, {label}", row["cases"], *_localisation_cells(row)) for label, row in found["findings"].items()
    ]
    limits = found["maps"]["iou_above"]
    return (
        "## Localisation\n\n"
        f"{found['cases']} pairs of image and finding with radiologists' boxes, on {found['images']} images.\n"
        f"Pointing game: the map's maximum lies in a box. Energy: the share of the map's sum inside the boxes. IoU: of "
        f"the boxes with the region {found['region']}.\n"
        f"{_beaten_by(found, names)}\n"
        + table(("map", "cases", "pointing game", "energy", *(f"IoU ≥ {limit}" for limit in limits)), rows)
        + _by_finding(found, names)
    )


def _beaten_by(found: dict[str, Any], names: dict[str, str]) -> str:
    """Say plainly which controls point better than the model's maps, and which worse."""
    better: list[str] = []
    worse: list[str] = []
    neither: list[str] = []
    for name, gain in found.get("gain_over", {}).items():
        low, high = gain["interval"] or (-1.0, 1.0)
        listed = worse if low > 0 else better if high < 0 else neither
        listed.append(f"{names[name].removeprefix('control: ')} ({gain['value']:+.3f})")
    said = [
        f"**{what}: {', '.join(which)}.**"
        for what, which in (
            ("The maps point better than these controls", worse),
            ("These controls, which do not look at the image, point better than the maps", better),
            ("No difference is shown to", neither),
        )
        if which
    ]
    if higher := _higher_controls(found, names):
        said.append(f"By other measures a control is higher: {higher}.")
    return f"{' '.join(said)}\n" if said else ""


def _higher_controls(found: dict[str, Any], names: dict[str, str]) -> str:
    """List the measures of area by which a control has a higher figure than the maps, and which."""
    measured = {name: _areas(found[name]) for name in names if name in found}
    listed = []
    for measure, of_maps in measured["maps"].items():
        higher = [names[name].removeprefix("control: ") for name in measured if measured[name][measure] > of_maps]
        if higher:
            listed.append(f"{measure}: {', '.join(higher)}")
    return "; ".join(listed)


def _areas(figures: dict[str, Any]) -> dict[str, float]:
    energy = {"energy": figures["energy"]["value"]} if "energy" in figures else {}
    return energy | {f"IoU ≥ {limit}": figure["value"] for limit, figure in figures["iou_above"].items()}


def _by_finding(found: dict[str, Any], names: dict[str, str]) -> str:
    """Write how often maps and controls point into the boxes of each finding."""
    if not all("controls" in row for row in found["findings"].values()):
        return ""  # recorded before there were controls by finding
    rows = [
        (label, row["cases"], shown(row["pointing_game"]), *(f"{value:.3f}" for value in row["controls"].values()))
        for label, row in found["findings"].items()
    ]
    controls = [names[name].removeprefix("control: ") for name in next(iter(found["findings"].values()))["controls"]]
    return "\nPointing game by finding:\n\n" + table(("finding", "cases", names["maps"], *controls), rows)


def _localisation_cells(figures: dict[str, Any]) -> list[str]:
    # Figures that were recorded before there was an energy have none.
    energy = shown(figures["energy"]) if "energy" in figures else "–"
    return [shown(figures["pointing_game"]), energy, *(shown(figure) for figure in figures["iou_above"].values())]


def comparison_section(report: dict[str, Any]) -> str:
    """Write the paired comparison with another model."""
    other = report["comparison"]
    if not other:
        return ""
    names = {
        "mean": "**mean**",
        "mean_within": "**mean, within collections**",
        "mean_frequent": f"mean, findings of at least {LEAST_PATIENTS} patients",
        "mean_within_frequent": "the same, within collections",
    }
    rows = [
        (names.get(label, label), shown(row["first"]), shown(row["second"]), signed(row["difference"]))
        for label, row in other["figures"].items()
    ]
    return (
        f"## Beside `{other['with']}`\n\nOn the {other['images']} images of {other['patients']} patients that both "
        "predict, paired. Whether the other was trained on them is for its authors to state.\n\n"
        + table(("finding", "the other", "this model", "difference"), rows)
    )


def unreadable_section(report: dict[str, Any]) -> str:
    """Write the images that could not be read."""
    if not report["unreadable"]:
        return ""
    rows = [(row["image"], row["code"], row["message"]) for row in report["unreadable"]]
    return "## Images that could not be read\n\n" + table(("image", "code", "message"), rows)


def shown(figure: dict[str, Any]) -> str:
    """Write a figure with its interval."""
    return _with_interval(figure, ".3f")


def signed(figure: dict[str, Any]) -> str:
    """Write a difference with its interval."""
    return _with_interval(figure, "+.3f")


def _with_interval(figure: dict[str, Any], form: str) -> str:
    if figure["value"] is None:
        return "–"
    if figure["interval"] is None:
        return f"{figure['value']:{form}} (too few for an interval)"
    low, high = figure["interval"]
    return f"{figure['value']:{form}} ({low:{form}} to {high:{form}})"


def table(head: Iterable[Any], rows: Iterable[Iterable[Any]]) -> str:
    """Write a Markdown table."""
    lines = [list(map(str, head))]
    lines.append(["---"] * len(lines[0]))
    lines += [[str(cell).replace("|", "\\|") for cell in row] for row in rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
