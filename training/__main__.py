"""Command line of the training package: ``python -m training``."""

from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from cxr_edge.errors import CxrEdgeError
from training.ablation import read_ablation
from training.errors import TrainingError, how_to_get
from training.labels import DEFAULT as DEFAULT_LABELS
from training.labels import read_labels
from training.recipe import DEFAULT, EXPERIMENTS, RECIPES, change_recipe, read_recipe

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)

Data = Annotated[
    Path, typer.Argument(help="NIH ChestX-ray14 as downloaded, a part of it with labels.csv, or a cache.", exists=True)
]


@contextmanager
def _errors_reported(interrupted: str = "Interrupted") -> Iterator[None]:
    """Report an error that the user can mend in one line; others keep their traceback."""
    try:
        yield
    except KeyboardInterrupt as error:
        typer.echo(interrupted, err=True)
        raise typer.Exit(130) from error
    except ModuleNotFoundError as error:
        typer.echo(f"training: {how_to_get(error)}", err=True)
        raise typer.Exit(1) from error
    except (TrainingError, CxrEdgeError) as error:
        typer.echo(f"training: {error}", err=True)
        raise typer.Exit(1) from error


@app.callback()
def main() -> None:
    """Prepare images, train, calibrate, evaluate."""


@app.command()
def prepare(
    data: Data,
    out: Annotated[Path, typer.Option(metavar="CACHE", help="The cache; the same command again resumes it.")],
    size: Annotated[list[int], typer.Option(min=32, max=4096, help="Side in pixels; repeatable.")],
    labels: Annotated[
        str, typer.Option(metavar="NAME", help="Label set: a name, or a JSON file; as in the recipe of the fit.")
    ] = DEFAULT_LABELS,
    skip_unreadable: Annotated[
        bool, typer.Option("--skip-unreadable", help="Finish without the images that cannot be read.")
    ] = False,
) -> None:
    """Decode every image once, with the SDK's own pre-processing, into a compact 8-bit cache.

    Each file is checked and hashed; what cannot be read is listed in CACHE/unreadable.csv. A fit or an evaluation
    takes CACHE in place of the data set.
    """
    with _errors_reported("Interrupted; the same command continues where it stopped"):
        names = read_labels(labels)  # told within a second, before heavy imports

        from training.data.nih import read_dataset
        from training.data.prepare import prepare as prepare_images

        images = read_dataset(data, names)
        unreadable = prepare_images(images, out, tuple(size), names, skip_unreadable=skip_unreadable)
    if len(unreadable):
        typer.echo(f"{len(unreadable)} images cannot be read; see {out / 'unreadable.csv'}", err=True)
        if not skip_unreadable:
            typer.echo("Mend them and run the same command again, or finish without them: --skip-unreadable", err=True)
            raise typer.Exit(1)
    typer.echo(f"Wrote {out}")


class Device(str, Enum):
    """Where a fit computes."""

    auto = "auto"
    cpu = "cpu"
    gpu = "gpu"


@app.command()
def fit(
    data: Data,
    out: Annotated[Path, typer.Option(metavar="RUN", help="Directory of this run.")],
    recipe: Annotated[
        Path,
        typer.Option(help="What to fit and how.", exists=True, dir_okay=False, show_default="recipes/best.toml"),
    ] = DEFAULT,
    change: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Change a key of the recipe; repeatable: --set loss.name=focal --set stages.0.epochs=3. "
            "Lists as in TOML: --set 'split.validation_collections=[\"A\"]'.",
        ),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue an interrupted fit.")] = False,
    deterministic: Annotated[
        bool, typer.Option("--deterministic", help="The same seed gives the same weights, at some cost in time.")
    ] = False,
    tensorboard: Annotated[bool, typer.Option("--tensorboard", help="Write event files to RUN/tensorboard.")] = False,
    device: Annotated[Device, typer.Option(help="Where; auto refuses a fit that takes days on a CPU.")] = Device.auto,
) -> None:
    """Fit a network; writes model.keras, training.json, history.csv and training_curves.png."""
    with _errors_reported("Interrupted; the same command with --resume continues after the last whole epoch"):
        chosen = change_recipe(read_recipe(recipe), change or [])  # told within a second, before heavy imports

        from training.fitting.run import fit_run
        from training.network.devices import choose_device

        choose_device(device.value)
        written = fit_run(
            data,
            out,
            chosen,
            resume=resume,
            deterministic=deterministic,
            tensorboard=tensorboard,
            cpu_asked_for=device is Device.cpu,
        )
    typer.echo(f"Wrote {written}")


@app.command()
def ablate(
    data: Data,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Directory of all runs; finished ones are not repeated.")],
    recipe: Annotated[
        Path,
        typer.Option(help="What is changed.", exists=True, dir_okay=False, show_default="recipes/plain.toml"),
    ] = RECIPES / "plain.toml",
    variants: Annotated[
        Path,
        typer.Option(help="The changes.", exists=True, dir_okay=False, show_default="experiments/ablation.toml"),
    ] = EXPERIMENTS / "ablation.toml",
    device: Annotated[Device, typer.Option(help="As for fit.")] = Device.auto,
) -> None:
    """Fit variants of a recipe with several seeds; writes ablation.json and ablation.md.

    The same command in several processes, or on several machines with a shared DIR, shares the work.
    """
    with _errors_reported("Interrupted; the same command continues after the last whole epoch"):
        ablation, changed = read_ablation(variants), read_recipe(recipe)
        ablation.recipes(changed)  # a mistake is told within a second, before heavy imports

        from training.fitting.ablate import ablate as ablate_variants
        from training.network.devices import choose_device

        choose_device(device.value)
        ablate_variants(data, out, changed, ablation, cpu_asked_for=device is Device.cpu)
    typer.echo((out / "ablation.md").read_text())


@app.command("learning-curve")
def learning_curve(
    fits: Annotated[
        Path,
        typer.Argument(metavar="DIR", help="An ablation by the number of training images.", exists=True),
    ],
    to: Annotated[
        list[int] | None,
        typer.Option(min=1, help="Number of images to extrapolate to; repeatable.", show_default="86,524: all of NIH"),
    ] = None,
) -> None:
    """Extrapolate to more training images; writes learning_curve.json, .md and .png.

    First fit parts of the data:
    python -m training ablate CACHE --out DIR --variants training/experiments/learning_curve.toml
    """
    with _errors_reported():
        from training.evaluation.learning_curve import extrapolate, read_fits, write_learning_curve

        written = write_learning_curve(extrapolate(read_fits(fits / "ablation.json"), tuple(to or [86_524])), fits)
    typer.echo(written[1].read_text())


Run = Annotated[Path, typer.Argument(metavar="RUN", help="Directory of a finished fit.", exists=True, file_okay=False)]


@app.command()
def calibrate(
    run: Run,
    data: Data,
    collection: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Fit on the validation images of this collection alone; repeatable."),
    ] = None,
) -> None:
    """Fit calibration and operating points on the validation images; writes decisions.json.

    Probabilities and thresholds hold where findings are as frequent as among these images: choose a collection that
    was gathered as images come in, where there is one.
    """
    with _errors_reported():
        from export.decisions import calibrate_run

        typer.echo(f"Wrote {calibrate_run(run, data, collection or ())}")


class Dataset(str, Enum):
    """The layouts that an evaluation reads."""

    nih = "nih"
    chexpert = "chexpert"
    mimic = "mimic"
    csv = "csv"


class UncertainLabels(str, Enum):
    """What an uncertain label counts as."""

    ignore = "ignore"
    zeros = "zeros"
    ones = "ones"


@app.command()
def recalibrate(
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", help="A bundle.", exists=True, file_okay=False)],
    images: Annotated[
        Path, typer.Option(metavar="DIR", help="The folder that the table's images are in.", exists=True)
    ],
    labels: Annotated[
        Path,
        typer.Option(
            metavar="CSV", help="Column image, any of the bundle's labels as 1 and 0, patient if known.", exists=True
        ),
    ],
    out: Annotated[Path, typer.Option(metavar="DIR", help="The new bundle.")],
    uncertain: Annotated[
        UncertainLabels,
        typer.Option(help="What an uncertain label (-1) counts as; with ignore its image is left out."),
    ] = UncertainLabels.ignore,
    version: Annotated[
        str | None, typer.Option(help="Version of the new bundle.", show_default="that of BUNDLE-recalibrated")
    ] = None,
) -> None:
    """Fit a bundle's calibration and operating points on your own labelled images; writes a new bundle.

    Use images as they come in, a few hundred at least: probabilities and thresholds hold where findings are as frequent
    as among these. Keep other images to check the result: `evaluate --dataset csv`. The network stays as it is.
    """
    with _errors_reported():
        from cxr_edge.model.bundle import read_bundle
        from export.recalibration import recalibrate as fit_anew
        from training.data.external import read_external
        from training.labels import LabelSet

        known = LabelSet.of(read_bundle(bundle).manifest.labels)
        table = read_external("csv", labels, uncertain.value, known)
        table["path"] = [images / name for name in table["image"]]
        done = fit_anew(bundle, table, labels.name, out, version)
    if done.kept:
        typer.echo(f"Too few images; decisions kept as they were: {', '.join(done.kept)}", err=True)
    for image, why in done.left_out.items():
        typer.echo(f"Left out {image}: {why}", err=True)
    for point in done.lost:
        typer.echo(f"Without the operating point {point}: labels that were kept have no such threshold", err=True)
    before, after = (done.log_loss[when] for when in ("before", "after"))
    typer.echo(f"Log loss {before:.4f} before, {after:.4f} after (on patients held out in turn)")
    typer.echo(f"Wrote {done.bundle}")


@app.command()
def evaluate(
    data: Annotated[
        Path,
        typer.Argument(
            metavar="DATA", help="The data set's folder, or a cache; for csv also the table itself.", exists=True
        ),
    ],
    out: Annotated[Path, typer.Option(metavar="DIR", help="The directory of the report.")],
    bundle: Annotated[
        Path | None, typer.Option(metavar="DIR", help="What is evaluated.", show_default="the shipped bundle")
    ] = None,
    part: Annotated[str, typer.Option(help="Of NIH: validation or test. A test look is recorded.")] = "validation",
    dataset: Annotated[Dataset, typer.Option(help="Whose layout and labels DATA has.")] = Dataset.nih,
    uncertain: Annotated[
        UncertainLabels, typer.Option(help="What an uncertain label (-1) counts as; ignore leaves it out.")
    ] = UncertainLabels.ignore,
    boxes: Annotated[
        Path | None,
        typer.Option(metavar="CSV", help="Radiologists' boxes (BBox_List_2017.csv): localisation.", exists=True),
    ] = None,
    compare_with: Annotated[
        Path | None, typer.Option(metavar="CSV", help="Another model's predictions by image.", exists=True)
    ] = None,
    collection: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Only images gathered in this collection; repeatable."),
    ] = None,
    reduced_to: Annotated[
        int | None,
        typer.Option(
            min=16, metavar="PIXELS", help="Also rank the images reduced to this side: does sharpness count as disease?"
        ),
    ] = None,
    resamples: Annotated[int, typer.Option(min=20, help="Bootstrap resamples of the patients.")] = 1000,
) -> None:
    """Measure a bundle through the SDK: evaluation.json, evaluation.md, plots, and predictions.csv, which another
    evaluation compares itself with.

    By finding and on the mean: ROC-AUC, average precision, precision, recall, F1 and specificity at every operating
    point, each with a 95 % interval by patient; one TTA variant and all; by view position, sex, age and collection;
    calibration before and after. Images must be the part of the split that the bundle was trained by.
    """
    if part not in ("validation", "test"):
        raise typer.BadParameter(f"expected validation or test, got {part!r}", param_hint="--part")
    with _errors_reported():
        from cxr_edge.model.bundle import read_bundle
        from training.data.external import read_external
        from training.data.nih import read_dataset
        from training.data.splits import of_collections
        from training.evaluation.evaluate import Extras, look_of, part_of_split, write_evaluation
        from training.evaluation.evaluate import evaluate as measure
        from training.evaluation.looks import record_look
        from training.evaluation.resampling import Bootstrap
        from training.labels import LabelSet

        chosen = read_bundle(bundle)
        labels = LabelSet.of(chosen.manifest.labels)
        if dataset is Dataset.nih:
            images, held_out = part_of_split(chosen, read_dataset(data, labels), part)
        else:
            images = read_external(dataset.value, data, uncertain.value, labels)
            held_out = f"another data set, {data.name}; its user must know whether the model has seen images of it"
            part = dataset.value
        images = of_collections(images, collection or ())
        extras = Extras(boxes, compare_with, reduced_to)
        report = measure(chosen, images, part, held_out, extras, Bootstrap(resamples))
        if dataset is Dataset.nih and part == "test":
            typer.echo(f"Look {record_look(look_of(report))} at the test part is recorded.")
        for written in write_evaluation(report, out):
            typer.echo(f"Wrote {written}")
        if report["unreadable"]:
            typer.echo(f"{len(report['unreadable'])} images could not be read; the report lists them", err=True)


if __name__ == "__main__":
    app()
