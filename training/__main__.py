"""Command line of the training package: ``python -m training``."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)

Data = Annotated[Path, typer.Argument(help="Folder of NIH ChestX-ray14, as downloaded or a subset with labels.csv.")]


@app.callback()
def main() -> None:
    """Train, set operating points, evaluate."""


@app.command()
def fit(
    data: Data,
    out: Annotated[Path, typer.Option(help="Directory of this run; an interrupted fit goes on where it stopped.")],
    initial: Annotated[str, typer.Option(help="random, imagenet, lite0, or a .keras file.")] = "lite0",
    epochs: Annotated[int, typer.Option(min=2)] = 10,
    batch: Annotated[int, typer.Option(min=1, help="Films in a step.")] = 32,
    learning_rate: Annotated[float, typer.Option(help="Peak of the schedule.")] = 1e-3,
    validation: Annotated[float, typer.Option(min=0.01, max=0.5, help="Share of patients held out.")] = 0.15,
    seed: Annotated[int, typer.Option(help="Of split, shuffling, dropout and augmentation.")] = 0,
) -> None:
    """Fit a network; writes model.keras, history.csv and training.json."""
    from training import run

    recipe = run.Recipe(initial=initial, epochs=epochs, batch=batch, learning_rate=learning_rate, seed=seed)
    typer.echo(f"Wrote {run.fit_run(data, out, recipe, validation)}")


Run = Annotated[Path, typer.Argument(help="Directory of a finished fit.", exists=True, file_okay=False)]


@app.command()
def thresholds(run: Run, data: Data) -> None:
    """Fit the operating points on the validation films; writes operating_points.json."""
    from training import run as runs

    typer.echo(f"Wrote {runs.fit_operating_points(run, data)}")


@app.command()
def evaluate(
    run: Run,
    data: Data,
    part: Annotated[str, typer.Option(help="validation or test; a look at test is put on record.")] = "validation",
) -> None:
    """Measure ROC-AUC with intervals, one view and six; writes evaluation.json."""
    from training import run as runs

    if part not in ("validation", "test"):
        raise typer.BadParameter(f"expected validation or test, got {part!r}", param_hint="--part")
    written = runs.evaluate_run(run, data, part)
    typer.echo(written.read_text())


if __name__ == "__main__":
    app()
