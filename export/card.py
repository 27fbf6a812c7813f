"""The model card: what the bundle is, what it was measured at, what it must not be used for."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from cxr_edge.model.bundle import MANIFEST, MODEL_CARD, Bundle, read_bundle
from cxr_edge.model.gates import OWN_IMAGES
from cxr_edge.model.manifest import MAP_METHODS
from cxr_edge.model.results import NOTICE
from export import card_texts
from export.bundle_files import write_bundle
from export.errors import ExportError
from export.report import change
from training.data.nih import NIH
from training.evaluation.evaluate import hash_of_decisions, hash_of_networks
from training.evaluation.looks import TEST_LOOKS
from training.evaluation.report import card_figures, signed
from training.recipe import Network

#: The file of a bundle that holds the figures of its card.
EVALUATION: Final = "evaluation.json"


def model_card(manifest: dict[str, Any], measured: dict[str, Any] | None = None) -> str:
    """Write the card of a bundle as Markdown.

    Parameters
    ----------
    manifest : dict
        Any notes on this model are in ``training.notes``, as Markdown.
    measured : dict, optional
        What was measured; see `measured`.
    """
    training = manifest["training"]
    card = _imported(manifest) if "imported" in training else _trained(manifest, measured)
    notes = f"## Notes on this model\n\n{training['notes']}" if training.get("notes") else ""
    anew = _recalibrated(training.get("recalibrated"))
    members = _members(manifest.get("members"), training.get("ensemble"))
    unlike = _out_of_distribution(manifest.get("out_of_distribution"))
    stated = _header_checks(manifest.get("header_checks"))
    figures = card_figures(**measured) if measured else ""
    return "\n".join(
        part for part in (card, members, anew, unlike, stated, _variants(manifest["variants"]), notes, figures) if part
    )


def _trained(manifest: dict[str, Any], measured: dict[str, Any] | None) -> str:
    """Write the head of the card of a model that this project trained."""
    training = manifest["training"]
    gate, difference = _gate(manifest)
    nih = NIH in training.get("data", NIH)
    trained_on = f"{training['images']['train']:,}" if "images" in training else "a part of the"
    return card_texts.HEAD.format(
        name=manifest["name"],
        version=manifest["version"],
        notice=NOTICE,
        network=_network(manifest),
        count=len(manifest["labels"]),
        labels=_label_names(manifest),
        source=card_texts.NIH_SOURCE if nih else "",
        limits=card_texts.NIH_LIMITS if nih else card_texts.OTHER_LIMITS,
        whole=card_texts.NIH_WHOLE.format(trained_on=trained_on) if nih else "",
        data=training.get("data", "Not recorded"),
        images=_listed(training.get("images", {})),
        patients=_listed(training.get("patients", {})),
        split=training.get("split", "not recorded"),
        calibration=_calibration(manifest["calibration"]),
        elsewhere="; the figures below show how they fare on others"
        if measured
        else ", and not measured on others yet",
        operating_points=", ".join(f"`{name}`" for name in manifest["operating_points"]),
        maps=_maps(manifest["maps"]),
        gate_images=gate["images"],
        gate_variants=gate["variants"],
        gate=difference,
    )


def _imported(manifest: dict[str, Any]) -> str:
    """Write the head of the card of a model that was made elsewhere: most of it is unknown."""
    training = manifest["training"]
    origin, (gate, difference) = training["imported"], _gate(manifest)
    points = manifest["operating_points"]
    return card_texts.IMPORTED.format(
        name=manifest["name"],
        version=manifest["version"],
        notice=NOTICE,
        count=len(manifest["labels"]),
        labels=_label_names(manifest),
        origin=_listed({key.replace("_", " "): f"`{value}`" for key, value in origin.items() if value}),
        calibration=_calibration(manifest["calibration"]),
        thresholds="; ".join(f"`{name}`: {point['single']['fitted_on']}" for name, point in points.items()),
        maps=_maps(manifest["maps"])
        if manifest["maps"]
        else f"- No heat maps: {training['no_maps'] or 'none were asked for'}.",
        gate_images=gate["images"],
        gate=difference,
    )


def _gate(manifest: dict[str, Any]) -> tuple[dict[str, Any], str]:
    """Return the gate of the float32 graphs, and their largest differences to what they were made of, in words."""
    gate: dict[str, Any] = manifest["variants"]["fp32"]["gate"]
    found = gate.get("largest_difference_to_keras") or gate["largest_difference_to_source"]
    return gate, _listed({name: f"{value:.1e}" for name, value in found.items()})


def _label_names(manifest: dict[str, Any]) -> str:
    return ", ".join(label["name"] for label in manifest["labels"])


def _header_checks(checks: dict[str, Any] | None) -> str:
    if checks is None:
        return ""
    rows = [
        f"| {name} | {part} | {collection} | {counted['images']} | {_share(counted['caught'])} "
        f"| {_share(counted['false_alarms'])} |"
        for name in ("view", "sex")
        if name in checks
        for part, by_collection in checks[name]["figures"].items()
        for collection, counted in by_collection.items()
    ]
    age = checks.get("age")
    ages = "" if age is None else (
        f"A patient's age outside {age['least']:g} to {age['most']:g} years is warned of: hardly any training image is "
        f"of such a patient ({age['fitted_on']}).\n"
    )  # fmt: skip
    return card_texts.HEADER_CHECKS.format(rows="\n".join(rows), ages=ages)


def _network(manifest: dict[str, Any]) -> str:
    if manifest.get("members") is not None:
        return f"{len(manifest['members'])} networks whose log-odds are averaged"
    # A recipe of before there was a choice has no such key: its network is the design's.
    network = msgspec.convert(manifest["training"].get("recipe", {}).get("network", {}), Network)
    return f"{network.backbone} with a head of {len(network.head) + 1} dense layers"


def _members(members: list[dict[str, Any]] | None, fitted: dict[str, Any] | None) -> str:
    if members is None:
        return ""
    rows = [
        f"| {member['name']} | {member['weight']:.2f} | {'x'.join(map(str, member['input']['size']))} | "
        f"{len(member['labels'])} |"
        for member in members
    ]
    table = "\n".join(["| member | weight | input | labels |", "|---|---|---|---|", *rows])
    gain = "" if fitted is None else (
        f"\n\nMean ROC-AUC within collections on validation, on patients that weights and curves were not fitted on: "
        f"{signed(fitted['gain']['difference'])} against {fitted['best']} alone.\n"
    )  # fmt: skip
    return f"## Members\n\n{table}{gain}"


def _maps(maps: dict[str, Any] | None) -> str:
    return "- There are no heat maps." if maps is None else card_texts.MAPS.format(method=MAP_METHODS[maps["method"]])


def _recalibrated(recalibrated: dict[str, Any] | None) -> str:
    if recalibrated is None:
        return ""
    kept = ", ".join(recalibrated["kept"])
    return card_texts.RECALIBRATED.format(
        **{**recalibrated, **recalibrated["log_loss"]}, exceptions=f" There were too few for: {kept}." if kept else ""
    )


def _out_of_distribution(rule: dict[str, Any] | None) -> str:
    """Write how often the rule warns, by kind of image."""
    if rule is None:
        return ""
    rows = [
        f"| {part} | {kind} | {counted['pictures']} | {_share(counted['warned'])} |"
        for part, kinds in rule["figures"].items()
        for kind, counted in kinds.items()
    ]
    return card_texts.OUT_OF_DISTRIBUTION.format(
        fitted_on=rule["fitted_on"], false_alarms=rule["false_alarms"], rows="\n".join(rows)
    )


def _share(warned: dict[str, float]) -> str:
    return f"{warned['value']:.1%} ({warned['low']:.1%} to {warned['high']:.1%})"


def _variants(variants: dict[str, Any]) -> str:
    rows = [
        _variant_row(name, part, figures)
        for name, variant in variants.items()
        for part, figures in variant["gate"].items()
        if part in ("validation", "test", OWN_IMAGES)
    ]
    if not rows:
        return ""
    emulation = card_texts.EMULATION if "fp16" in variants else ""
    return card_texts.VARIANTS.format(rows="\n".join(rows), emulation=emulation)


def _variant_row(name: str, part: str, figures: dict[str, Any]) -> str:
    modes = [figures["tta_modes"][mode] for mode in ("single", "tta")]
    limits, maps = figures["limits"], figures["maps"]

    def both(described: Callable[[dict[str, Any]], str]) -> str:
        return " / ".join(described(mode) for mode in modes)

    cells = (
        name,
        f"{figures['images']} {part}",
        both(lambda m: f"{max(m['probability']['max'], m['raw_probability']['max']):.4f}")
        + f" ({limits['probability']:g})",
        both(lambda m: f"{m['probability']['p99']:.4f}"),
        both(lambda m: f"{m['flips']['all']:.2%}, {max(m['flips'].values()):.2%}") + f" ({limits['flips']:.1%})",
        both(lambda m: change(m["mean_auc"])) + f" ({limits['mean_auc']:g})",
        both(lambda m: change(m["calibration_error"])),
        "none" if maps is None else f"{maps['correlation_median']:.4f}, {maps['same_strongest_cell']:.1%}",
    )
    return f"| {' | '.join(cells)} |"


def _calibration(calibration: dict[str, Any]) -> str:
    if calibration["method"] == "identity":
        return "none, probabilities are the network's own"
    curves = list(calibration["tta"].values())
    different = {(curve["slope"], curve["intercept"]) for curve in curves}
    if len(different) == len(curves):
        which = "a curve for each label"
    else:
        which = f"{len(different)} {'curve' if len(different) == 1 else 'curves'} shared by {len(curves)} labels"
    return f"Platt's sigmoid, {which}, fitted on {calibration['fitted_on']}"


def _listed(parts: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in parts.items()) or "not recorded"


def write_figures(root: Path, validation: Path, test: Sequence[Path], notes: str | None = None) -> None:
    """Write the figures of a bundle's evaluations into its card.

    Parameters
    ----------
    root : Path
        The bundle.
    validation : Path
        Its ``evaluation.json``.
    test : sequence of Path
        Those of the test part, or of some of its collections each; the most important first.
    notes : str, optional
        Notes for the card, as Markdown, instead of those so far.

    Raises
    ------
    ExportError
        A report is of another bundle, calibration, or part.
    """
    read = read_bundle(root)
    on_validation = _read_report(validation, "validation", read)
    on_test = [_read_report(file, "test", read) for file in test]
    manifest = json.loads((root / MANIFEST).read_bytes())
    if notes is not None:
        manifest["training"]["notes"] = notes
    looks = len(TEST_LOOKS.read_text(encoding="utf-8").splitlines()) if TEST_LOOKS.is_file() else 0
    figures = {"validation": on_validation, "test": on_test, "looks": looks}
    files = {EVALUATION: json.dumps(figures).encode(), MODEL_CARD: model_card(manifest, figures).encode()}
    write_bundle(manifest, {**read.files, **files}, root)


def write_changed(root: Path, bundle: Bundle, changes: dict[str, Any]) -> None:
    """Write a bundle with some keys of its manifest changed, and the card that follows from it.

    Parameters
    ----------
    root : Path
        Its directory.
    bundle : Bundle
        With its files, those that are new among them.
    changes : dict
        Key of the manifest → value.
    """
    manifest = json.loads((root / MANIFEST).read_bytes()) | changes
    card = model_card(manifest, measured(bundle))
    write_bundle(manifest, {**bundle.files, MODEL_CARD: card.encode()}, root)


def measured(bundle: Bundle) -> dict[str, Any] | None:
    """Return what a bundle was measured at: the evaluations and the number of test looks; None if nothing yet."""
    if EVALUATION not in bundle.files:
        return None
    figures: dict[str, Any] = json.loads(bundle.files[EVALUATION])
    return figures


def _read_report(file: Path, part: str, bundle: Bundle) -> dict[str, Any]:
    """Read an evaluation of the same network, calibration and thresholds, on a part of its split."""
    try:
        report: dict[str, Any] = json.loads(file.read_bytes())
    except ValueError as error:
        raise ExportError(f"{file} is not JSON: {error}; expected what `python -m training evaluate` wrote") from error
    manifest = bundle.manifest
    model = hash_of_networks(manifest)
    for key, expected in (("model_sha256", model), ("decisions_sha256", hash_of_decisions(manifest)), ("part", part)):
        if report.get(key) != expected:
            raise ExportError(
                f"{file}: expected {key} of {expected!r} for {bundle.identity}, got {report.get(key)!r}; evaluate "
                "this bundle again"
            )
    return report
