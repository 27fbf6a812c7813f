"""The model card: what the bundle is, what it was measured at, what it must not be used for.

``python -m export.card`` writes the figures of an evaluation into the card of a bundle.
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cxr_edge.results import NOTICE

if TYPE_CHECKING:
    from cxr_edge.bundle import Bundle

_HEAD = """\
# Model card: {name} {version}

**{notice}**

A classifier of frontal chest radiographs: EfficientNetB0 with a head of three dense layers, one probability for each
of the {count} labels of NIH ChestX-ray14.

## Intended use

Research and engineering: building and testing software around a chest X-ray model, teaching, and as a baseline that
others are measured against. It has not been validated for any clinical use. Not for diagnosis, triage or screening.

## Data

{data}. Films: {films}. Patients: {patients}. Split: {split}; no patient is in two parts.
Images: NIH Clinical Center; Wang et al. 2017 (ChestX-ray8, CVPR). The labels were mined from
reports by text processing; their authors estimate them to be over 90 % accurate, others less.

## Limits

- Films of one hospital system, most of them of sick adults: expect worse elsewhere. A part of the
  collection may hold more disease than the whole: quote no prevalence or predictive value from it.
- Calibration: {calibration}. It holds for films like those; with another prevalence probabilities are off.
- Thresholds ({operating_points}) were fitted on the same films; the figures below show how they fare on others.
- Lateral films, children, and pictures that are no chest film get an answer all the same.
- Heat maps have one position for 32 pixels of the network's input before they are enlarged: they
  point at a region, they do not outline it.

## Training on all of NIH

This model was fitted on {trained_on} films. With all 112,120 and a GPU:

    python -m training prepare NIH_FOLDER --out cache --size 224
    python -m training fit cache --out runs/full --recipe training/recipes/reference.toml
    python -m training calibrate runs/full cache
    python -m export runs/full/model.keras --out my-bundle
    python -m training evaluate cache --bundle my-bundle --part test --out results

## Parity of the exported graphs with Keras

Largest difference over {gate_films} films in {gate_views} views each: {gate}.
"""


def model_card(manifest: dict[str, Any], figures: str = "") -> str:
    """Write the card of a bundle as Markdown.

    Parameters
    ----------
    manifest : dict
        With what else must be told of this model in ``training.notes``, as Markdown.
    figures : str
        What was measured, as Markdown.
    """
    training = manifest["training"]
    gate = manifest["variants"]["fp32"]["gate"]
    notes = training.get("notes")
    card = _HEAD.format(
        name=manifest["name"],
        version=manifest["version"],
        notice=NOTICE,
        count=len(manifest["labels"]),
        trained_on=f"{training['films']['train']:,}" if "films" in training else "a part of the",
        data=training.get("data", "Not recorded"),
        films=_listed(training.get("films", {})),
        patients=_listed(training.get("patients", {})),
        split=training.get("split", "not recorded"),
        calibration=_calibration(manifest["calibration"]),
        operating_points=", ".join(f"`{name}`" for name in manifest["operating_points"]),
        gate_films=gate["films"],
        gate_views=gate["views"],
        gate=_listed({name: f"{value:.1e}" for name, value in gate["largest_difference_to_keras"].items()}),
    )
    return "\n".join(part for part in (card, f"## Notes on this model\n\n{notes}" if notes else "", figures) if part)


def _calibration(calibration: dict[str, Any]) -> str:
    if calibration["method"] == "identity":
        return "none, probabilities are the network's own"
    return f"Platt's sigmoid for each label, fitted on {calibration['fitted_on']}"


def _listed(parts: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in parts.items()) or "not recorded"


app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def main(
    bundle: Annotated[Path, typer.Argument(help="The bundle whose card is written anew.", exists=True)],
    test: Annotated[Path, typer.Option(metavar="JSON", help="evaluation.json of the test part.", exists=True)],
    validation: Annotated[Path, typer.Option(metavar="JSON", help="evaluation.json of validation.", exists=True)],
    notes: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="What else the card tells, instead of its notes so far.", exists=True),
    ] = None,
) -> None:
    """Write the figures of an evaluation into the card of the bundle that was evaluated."""
    from cxr_edge.bundle import MANIFEST, MODEL_CARD, read_bundle
    from cxr_edge.errors import CxrEdgeError
    from export.bundle_files import write_bundle
    from export.errors import ExportError
    from training.evaluation.looks import TEST_LOOKS
    from training.evaluation.report import card_figures

    try:
        read = read_bundle(bundle)
        on_validation = _read_report(validation, "validation", read)
        on_test = _read_report(test, "test", read)
        manifest = json.loads((bundle / MANIFEST).read_bytes())
        if notes:
            manifest["training"]["notes"] = notes.read_text(encoding="utf-8")
        looks = len(TEST_LOOKS.read_text(encoding="utf-8").splitlines()) if TEST_LOOKS.is_file() else 0
        card = model_card(manifest, card_figures(on_validation, on_test, looks))
        write_bundle(manifest, {**read.files, MODEL_CARD: card.encode()}, bundle)
    except (ExportError, CxrEdgeError) as error:
        typer.echo(f"export: {error}", err=True)
        raise typer.Exit(1) from error
    typer.echo(f"Wrote {bundle / MODEL_CARD}")


def _read_report(file: Path, part: str, bundle: "Bundle") -> dict[str, Any]:
    """Read an evaluation of this very network, calibration and thresholds, on a part of its split."""
    from export.errors import ExportError
    from training.evaluation.evaluate import hash_of_decisions

    try:
        report: dict[str, Any] = json.loads(file.read_bytes())
    except ValueError as error:
        raise ExportError(f"{file} is no JSON: {error}; expected what `python -m training evaluate` wrote") from error
    manifest = bundle.manifest
    model = manifest.files[manifest.variants[manifest.default_variant].model].sha256
    for key, expected in (("model_sha256", model), ("decisions_sha256", hash_of_decisions(manifest)), ("part", part)):
        if report.get(key) != expected:
            raise ExportError(
                f"{file}: expected {key} of {expected!r} for {bundle.identity}, got {report.get(key)!r}; evaluate "
                "this bundle again"
            )
    return report


if __name__ == "__main__":
    app()
