"""The model card: what the bundle is, what it was measured at, what it must not be used for."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from cxr_edge.model.bundle import MANIFEST, MODEL_CARD, Bundle, read_bundle
from cxr_edge.model.results import NOTICE
from export.bundle_files import write_bundle
from export.errors import ExportError
from export.report import change
from training.evaluation.evaluate import hash_of_decisions
from training.evaluation.looks import TEST_LOOKS
from training.evaluation.report import card_figures

#: The file of a bundle that holds the figures of its card.
EVALUATION: Final = "evaluation.json"

_HEAD = """\
# Model card: {name} {version}

**{notice}**

A classifier of frontal chest radiographs: EfficientNetB0 with a head of three dense layers, one probability for each
of {count} labels: {labels}.

## Intended use

Research and engineering: building and testing software around a chest X-ray model, teaching, and as a baseline that
others are measured against. It has not been validated for any clinical use. Not for diagnosis, triage or screening.

## Data

{data}. Images: {images}. Patients: {patients}. Split: {split}; no patient is in two parts.
Images: NIH Clinical Center; Wang et al. 2017 (ChestX-ray8, CVPR). The labels were mined from
reports by text processing; their authors estimate them to be over 90 % accurate, others less.

## Limits

- Images of one hospital system, most of them of sick adults: expect worse elsewhere. A part of the
  collection may hold findings more often than the whole: quote no prevalence or predictive value from it.
- Calibration: {calibration}. It holds for images like those; with another prevalence probabilities are off.
- Thresholds ({operating_points}) were fitted on the same images{elsewhere}.
- Lateral images, children, and images other than chest radiographs get an answer all the same; at most a warning.
- Heat maps have one position for 32 pixels of the network's input before they are enlarged: they
  point at a region, they do not outline it.

## Training on all of NIH

This model was fitted on {trained_on} images. With all 112,120 and a GPU:

    python -m training prepare NIH_FOLDER --out cache --size 224
    python -m training fit cache --out runs/full --recipe training/recipes/reference.toml
    python -m training calibrate runs/full cache
    python -m export runs/full/model.keras --out my-bundle
    python -m training evaluate cache --bundle my-bundle --part test --out results

## Parity of the exported graphs with Keras

Largest difference over {gate_images} images in {gate_variants} TTA variants each: {gate}.
"""

_OUT_OF_DISTRIBUTION = """\
## Images unlike the training images

A linear rule on the features before the head warns of images other than frontal chest radiographs, upright and whole.
It was fitted on {fitted_on}, and warns of {false_alarms:.0%} of the validation images. Images of other kinds than
those it was fitted on are listed as elsewhere. How many are warned of, with the 95 % interval (Wilson):

| images | kind | count | warned of |
|---|---|---|---|
{rows}

No warning does not mean that an image is a chest radiograph.
"""

_RECALIBRATED = """\
## Decisions fitted anew

Calibration and operating points of {bundle} were replaced by those fitted on {fitted_on}.{exceptions} Log loss on these
images: {before:.4f} before, {after:.4f} after, on patients held out in turn. Gates of other precisions were measured
with the decisions before.
"""

_VARIANTS = """\
## Other precisions

What they change against float32 in the answers of all labels, by one TTA variant / by all. Each had to stay within its
limits on validation before it was measured on the test images, once. Flips: image-findings whose call changes, all
operating points together, which the limit holds for, and at the worst of them. AUC: the change of the mean with its
95 % interval, paired by patient. Maps: the median correlation with float32's, and how many keep their strongest cell.
{emulation}

| precision | images | max Δp (limit) | p99 | flips (limit) | Δ AUC (limit) | Δ calibration error | maps |
|---|---|---|---|---|---|---|---|
{rows}
"""

_EMULATION = (
    "The figures of float16 are those of its graph with every operator's result rounded to float16, computed on a CPU."
)


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
    gate = manifest["variants"]["fp32"]["gate"]
    card = _HEAD.format(
        name=manifest["name"],
        version=manifest["version"],
        notice=NOTICE,
        count=len(manifest["labels"]),
        labels=", ".join(label["name"] for label in manifest["labels"]),
        trained_on=f"{training['images']['train']:,}" if "images" in training else "a part of the",
        data=training.get("data", "Not recorded"),
        images=_listed(training.get("images", {})),
        patients=_listed(training.get("patients", {})),
        split=training.get("split", "not recorded"),
        calibration=_calibration(manifest["calibration"]),
        elsewhere="; the figures below show how they fare on others"
        if measured
        else ", and not measured on others yet",
        operating_points=", ".join(f"`{name}`" for name in manifest["operating_points"]),
        gate_images=gate["images"],
        gate_variants=gate["variants"],
        gate=_listed({name: f"{value:.1e}" for name, value in gate["largest_difference_to_keras"].items()}),
    )
    notes = f"## Notes on this model\n\n{training['notes']}" if training.get("notes") else ""
    anew = _recalibrated(training.get("recalibrated"))
    unlike = _out_of_distribution(manifest.get("out_of_distribution"))
    figures = card_figures(**measured) if measured else ""
    return "\n".join(part for part in (card, anew, unlike, _variants(manifest["variants"]), notes, figures) if part)


def _recalibrated(recalibrated: dict[str, Any] | None) -> str:
    if recalibrated is None:
        return ""
    kept = ", ".join(recalibrated["kept"])
    return _RECALIBRATED.format(
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
    return _OUT_OF_DISTRIBUTION.format(
        fitted_on=rule["fitted_on"], false_alarms=rule["false_alarms"], rows="\n".join(rows)
    )


def _share(warned: dict[str, float]) -> str:
    return f"{warned['value']:.1%} ({warned['low']:.1%} to {warned['high']:.1%})"


def _variants(variants: dict[str, Any]) -> str:
    rows = [
        _variant_row(name, part, figures)
        for name, variant in variants.items()
        for part, figures in variant["gate"].items()
        if part in ("validation", "test")
    ]
    return _VARIANTS.format(rows="\n".join(rows), emulation=_EMULATION if "fp16" in variants else "") if rows else ""


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
    return f"Platt's sigmoid for each label, fitted on {calibration['fitted_on']}"


def _listed(parts: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in parts.items()) or "not recorded"


def write_figures(root: Path, validation: Path, test: Path, notes: str | None = None) -> None:
    """Write the figures of a bundle's evaluations into its card.

    Parameters
    ----------
    root : Path
        The bundle.
    validation, test : Path
        Both ``evaluation.json``.
    notes : str, optional
        Notes for the card, as Markdown, instead of those so far.

    Raises
    ------
    ExportError
        A report is of another bundle, calibration, or part.
    """
    read = read_bundle(root)
    on_validation = _read_report(validation, "validation", read)
    on_test = _read_report(test, "test", read)
    manifest = json.loads((root / MANIFEST).read_bytes())
    if notes is not None:
        manifest["training"]["notes"] = notes
    looks = len(TEST_LOOKS.read_text(encoding="utf-8").splitlines()) if TEST_LOOKS.is_file() else 0
    figures = {"validation": on_validation, "test": on_test, "looks": looks}
    files = {EVALUATION: json.dumps(figures).encode(), MODEL_CARD: model_card(manifest, figures).encode()}
    write_bundle(manifest, {**read.files, **files}, root)


def measured(bundle: Bundle) -> dict[str, Any] | None:
    """Return what a bundle was measured at: both evaluations and the number of test looks; None if nothing yet."""
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
    model = manifest.files[manifest.variants[manifest.default_variant].model].sha256
    for key, expected in (("model_sha256", model), ("decisions_sha256", hash_of_decisions(manifest)), ("part", part)):
        if report.get(key) != expected:
            raise ExportError(
                f"{file}: expected {key} of {expected!r} for {bundle.identity}, got {report.get(key)!r}; evaluate "
                "this bundle again"
            )
    return report
