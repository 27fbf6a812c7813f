"""Command line of the export package: ``python -m export``.

Without the name of a command it exports a model.
"""

import json
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from export.command_line import SAMPLES, MapMethod, errors_reported, valid_name
from export.importing.cli import app as import_app
from training.files import hash_of_file

if TYPE_CHECKING:
    import pandas as pd


class _ExportByDefault(TyperGroup):
    """Takes a first word that is not a command as the model to export."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in {*self.commands, "--help"}:
            args = ["bundle", *args]
        return super().parse_args(ctx, args)


app = typer.Typer(cls=_ExportByDefault, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


app.add_typer(import_app, name="import")


@app.callback()
def main() -> None:
    """Export a trained model as a bundle, add variants, and compare any two of its runtimes."""


@app.command(name="bundle")
def write_bundle(
    model: Annotated[Path, typer.Argument(metavar="MODEL.keras", help="A trained model.", exists=True, dir_okay=False)],
    out: Annotated[Path, typer.Option(metavar="DIR", help="The bundle; replaced only when the new one is complete.")],
    decisions: Annotated[
        Path | None, typer.Option(metavar="FILE", show_default="decisions.json beside the model")
    ] = None,
    images: Annotated[Path, typer.Option(metavar="DIR", help="Real images for the parity gate.")] = SAMPLES,
    name: Annotated[
        str | None, typer.Option(help="Name of the model.", show_default="the name of MODEL's folder")
    ] = None,
    version: Annotated[str, typer.Option(help="Version of the model.")] = "0.1.0",
    maps: Annotated[
        MapMethod,
        typer.Option(
            help="Heat maps by LayerCAM (each channel weighted by its positive gradient at each position), by Grad-CAM "
            "(by its mean gradient), fine ones of twice the cells (slow), or none."
        ),
    ] = MapMethod.layercam,
) -> None:
    """Export a trained model as a bundle: ONNX graphs, manifest and model card.

    The graphs are compared with Keras on real images, and the gradient behind the heat maps with numerical
    differentiation; over a tolerance, nothing is written. training.json (its
    provenance) and notes.md (for the card) are read from the model's folder. `python -m export variant` adds other
    precisions, `python -m export card` what evaluations measured. The word `bundle` may be left out.
    """
    from export.publish import Description, export

    decided = decisions or model.with_name("decisions.json")
    if not decided.is_file():
        raise typer.BadParameter(
            f"{decided} does not exist; run `python -m training calibrate` first", param_hint="--decisions"
        )
    decisions_read = _read(decided) or {}
    if (fitted_for := decisions_read.get("model_sha256")) != hash_of_file(model):
        reason = "was not fitted for this model" if fitted_for else "does not record its model"
        raise typer.BadParameter(
            f"{decided} {reason}; run `python -m training calibrate` again", param_hint="--decisions"
        )
    name = name or model.resolve().parent.name
    valid_name(name, "--name")
    description = Description(
        name=name,
        version=version,
        decisions=decisions_read,
        training=_read(model.with_name("training.json")) or {},
        notes=notes.read_text() if (notes := model.with_name("notes.md")).is_file() else "",
        maps=maps.method,
    )
    with errors_reported():
        written = export(model, description, images, out)
    gate = json.loads((written / "manifest.json").read_bytes())["variants"]["fp32"]["gate"]
    typer.echo(f"Wrote {written}. Parity gate: {json.dumps(gate)}")


Bundle = Annotated[Path, typer.Argument(metavar="BUNDLE", help="The bundle.", exists=True, file_okay=False)]
Data = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="The data set the bundle was trained by, or a cache of it.", exists=True),
]
Collections = Annotated[
    list[str] | None,
    typer.Option("--collection", metavar="NAME", help="Of the data set: only images of this one; repeatable."),
]
Resamples = Annotated[int, typer.Option(min=20, help="Bootstrap resamples of the patients.")]


@app.command()
def card(
    bundle: Bundle,
    test: Annotated[
        list[Path],
        typer.Option(
            metavar="JSON", help="evaluation.json of the test part, or of some of its collections each.", exists=True
        ),
    ],
    validation: Annotated[Path, typer.Option(metavar="JSON", help="evaluation.json of validation.", exists=True)],
    notes: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Notes for the card, instead of those so far.", exists=True),
    ] = None,
) -> None:
    """Write the figures of evaluations into the card of the bundle that was evaluated."""
    from export.card import write_figures

    with errors_reported():
        write_figures(bundle, validation, test, notes.read_text(encoding="utf-8") if notes else None)
    typer.echo(f"Wrote the card of {bundle}")


class Precision(str, Enum):
    """Variants that can be made."""

    fp16 = "fp16"
    int8 = "int8"


@app.command()
def variant(
    bundle: Bundle,
    precision: Annotated[Precision, typer.Argument(help="What to make.")],
    data: Annotated[
        Path | None, typer.Option(metavar="DIR", help="The data set the bundle was trained by.", exists=True)
    ] = None,
    images: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Images without labels, for a bundle that was made elsewhere.", exists=True),
    ] = None,
    test: Annotated[
        bool, typer.Option("--test", help="Gate it on the test images too, once it passes; the test look is recorded.")
    ] = False,
    collections: Collections = None,
    resamples: Resamples = 1000,
) -> None:
    """Add another precision to a bundle, if it passes its gate on the validation images, or on images of yours.

    Over a limit, nothing is written and the exit status is 1.
    """
    if (data is None) == (images is None):
        raise typer.BadParameter(
            "expected the data set that the bundle was trained by, or a folder of images by --images",
            param_hint="--data",
        )
    if data is None and (test or collections):
        raise typer.BadParameter("--test and --collection choose among the images of --data", param_hint="--images")
    from export.images import listed_images
    from export.report import gate_table
    from export.variants import add_variant, add_variant_on
    from training.evaluation.resampling import Bootstrap

    with errors_reported():
        if data is None:
            shown = listed_images(images or SAMPLES)
            added = add_variant_on(bundle, precision.value, shown, Bootstrap(resamples))
        else:
            added = add_variant(
                bundle,
                precision.value,
                _labelled(bundle, data),
                Bootstrap(resamples),
                look_at_test=test,
                collections=collections or (),
            )
        gates = added.gate
    for part, figures in gates.items():
        typer.echo(f"{figures['images']} {part} images")
        gate_table({precision.value: figures})
    typer.echo(f"Wrote {precision.value} into {bundle}")


@app.command()
def verify(
    bundle: Annotated[
        Path | None, typer.Argument(metavar="BUNDLE", help="The bundle.", show_default="the shipped one")
    ] = None,
    reference: Annotated[
        str, typer.Option(metavar="DEVICE:PRECISION", help="What the candidates are compared with.")
    ] = "cpu:fp32",
    candidate: Annotated[
        list[str] | None,
        typer.Option(
            metavar="DEVICE:PRECISION",
            help="What is compared with it; repeatable.",
            show_default="every other variant, on the CPU",
        ),
    ] = None,
    data: Data = None,
    part: Annotated[str, typer.Option(help="With --data: validation or test. A test look is recorded.")] = "validation",
    collections: Collections = None,
    images: Annotated[
        Path, typer.Option(metavar="DIR", help="Without --data: images without labels.", exists=True)
    ] = SAMPLES,
    max_probability: Annotated[float | None, typer.Option(help="Limit of |Δp|.", show_default="by precision")] = None,
    max_flips: Annotated[
        float | None, typer.Option(help="Limit of the share of flips.", show_default="by precision")
    ] = None,
    max_auc: Annotated[float | None, typer.Option(help="Limit of |Δ mean AUC|.", show_default="by precision")] = None,
    resamples: Resamples = 1000,
    json_file: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write all figures here.")] = None,
) -> None:
    """Compare runtimes or variants of a bundle on real images.

    Largest and 99th percentile of |Δp|, decisions that flip, heat maps; with the labels of --data also the change of
    the mean ROC-AUC and of the calibration error, with paired intervals. Exit status 1 over a limit.

    For example:

      python -m export verify --candidate cuda:fp32 --candidate cuda:fp16

      python -m export verify my-bundle --data cache --candidate cpu:fp16
    """
    from export.report import gate_table
    from export.verify import verify as verify_runtimes

    changed = {"probability": max_probability, "flips": max_flips, "mean_auc": max_auc}
    if part not in ("validation", "test"):
        raise typer.BadParameter(f"expected validation or test, got {part!r}", param_hint="--part")
    with errors_reported():
        found = verify_runtimes(
            bundle,
            reference,
            candidate,
            images=images,
            data=data,
            part=part,
            limits={name: limit for name, limit in changed.items() if limit is not None},
            collections=collections or (),
            resamples=resamples,
        )
    gate_table(found)
    if json_file:
        json_file.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    over = {name: figures["over_limits"] for name, figures in found.items() if figures["over_limits"]}
    for name, what in over.items():
        typer.echo(f"{name} is over its limits: {'; '.join(what)}", err=True)
    raise typer.Exit(bool(over))


@app.command()
def ood(
    bundle: Bundle,
    data: Annotated[Path, typer.Option(metavar="DIR", help="The data set the bundle was trained by.", exists=True)],
    others: Annotated[
        list[str] | None,
        typer.Option(
            "--others", metavar="NAME=DIR", help="Images of another kind, to count the warnings on them; repeatable."
        ),
    ] = None,
    test: Annotated[
        bool, typer.Option("--test", help="Count on the test images too; the test look is recorded.")
    ] = False,
) -> None:
    """Fit the rule that warns of images unlike the training images, and write it into the bundle.

    For example:

      python -m export ood my-bundle --data cache --others photographs=~/photos
    """
    from export.ood import add_rule

    folders = {}
    for other in others or []:
        name, equals, folder = other.partition("=")
        if not equals or not Path(folder).is_dir():
            raise typer.BadParameter(f"expected NAME=DIR of an existing folder, got {other!r}", param_hint="--others")
        folders[name] = Path(folder)
    with errors_reported():
        rule = add_rule(bundle, _labelled(bundle, data), folders, look_at_test=test)
    typer.echo(json.dumps(rule.figures, indent=1))


@app.command("header-checks")
def header_checks(
    bundle: Bundle,
    data: Annotated[Path, typer.Option(metavar="DIR", help="The data set the bundle was trained by.", exists=True)],
    test: Annotated[
        bool, typer.Option("--test", help="Count on the test images too; the test look is recorded.")
    ] = False,
) -> None:
    """Fit what warns of a DICOM header that contradicts its image in view (PA, AP) or sex, or of an untrained age.

    A contradiction may mean that the image is another patient's. The rules are linear and read the network's features:
    they cost no inference. The age range is that of the training patients.
    """
    from export.header_checks import add_checks

    with errors_reported():
        checks = add_checks(bundle, _labelled(bundle, data), look_at_test=test)
    figures = {name: rule.figures for name, rule in checks.rules.items()}
    ages = checks.age and {"least": checks.age.least, "most": checks.age.most}
    typer.echo(json.dumps({**figures, "age": ages}, indent=1))


@app.command()
def ensemble(
    bundles: Annotated[
        list[str], typer.Argument(metavar="[NAME=]BUNDLE...", help="Two bundles or more; the first has the best rule.")
    ],
    out: Annotated[Path, typer.Option(metavar="DIR", help="The new bundle.")],
    data: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="The data set the bundles were trained by, or a cache.", exists=True),
    ] = None,
    images: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Instead: images that none of them has seen.", exists=True)
    ] = None,
    labels: Annotated[
        Path | None,
        typer.Option(metavar="CSV", help="Their labels: image, each label as 1 and 0, patient if known.", exists=True),
    ] = None,
    collections: Collections = None,
    name: Annotated[str, typer.Option(help="Name of the ensemble.")] = "ensemble",
    version: Annotated[str, typer.Option(help="Version of the ensemble.")] = "0.1.0",
) -> None:
    """Join bundles of equals to one: the log-odds of their answers are averaged.

    Weights, calibration and operating points are fitted on validation images. Members may have different inputs and
    labels; a label is answered by those that have it. Where the ensemble ranks validation images no better than its
    best member, nothing is written and the exit status is 1.

    For example:

      python -m export ensemble runs/a-bundle runs/b-bundle --data cache --out my-ensemble
    """
    from export.ensembles.candidates import validation_images
    from export.ensembles.publish import make_ensemble

    named = dict(_named_bundle(text) for text in bundles)
    if len(named) < len(bundles):
        raise typer.BadParameter("expected distinct names; write NAME=BUNDLE", param_hint="BUNDLE...")
    if (data is None) == (images is None) or (images is None) != (labels is None):
        raise typer.BadParameter("expected --data, or --images and --labels")
    with errors_reported():
        from cxr_edge.model.bundle import read_bundle

        read = {name: read_bundle(path) for name, path in named.items()}
        table, fitted_on = validation_images(read, data, (images, labels), collections or ())
        figures = make_ensemble(read, table, fitted_on, (name, version), out)
    weights = ", ".join(f"{member} {weight:.2f}" for member, weight in figures["weights"].items())
    gain = figures["gain"]["difference"]
    low, high = gain["interval"] or (float("nan"), float("nan"))
    typer.echo(f"Weights: {weights}")
    typer.echo(
        f"Mean ROC-AUC within collections against {figures['best']}, on patients held out in turn: "
        f"{gain['value']:+.4f} ({low:+.4f} to {high:+.4f})"
    )
    typer.echo(f"Wrote {out}")


def _named_bundle(text: str) -> tuple[str, Path]:
    """Read ``NAME=DIR``, or a directory by whose name the member is called."""
    name, equals, folder = text.partition("=")
    path = Path(folder if equals else text)
    if not path.is_dir():
        raise typer.BadParameter(f"{path} is not a directory", param_hint="BUNDLE...")
    return valid_name(name if equals else path.resolve().name, "BUNDLE..."), path


def _labelled(bundle: Path, data: Path) -> "pd.DataFrame":
    """Read the data set that a bundle was trained by."""
    from cxr_edge.model.bundle import read_bundle
    from training.data.nih import read_dataset
    from training.labels import LabelSet

    return read_dataset(data, LabelSet.of(read_bundle(bundle).manifest.labels))


def _read(path: Path) -> dict[str, Any] | None:
    return json.loads(path.read_bytes()) if path.is_file() else None


if __name__ == "__main__":
    app()
