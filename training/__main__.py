"""Command line of the training package: ``python -m training``."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from cxr_edge.errors import InputError
from training.errors import TrainingError
from training.recipe import DEFAULT

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)

Data = Annotated[Path, typer.Argument(help="Folder of NIH ChestX-ray14, as downloaded or a subset with labels.csv.")]


@contextmanager
def _errors_told() -> Iterator[None]:
    """Tell what a person can mend in one line, and keep the traceback for what is a fault of ours."""
    try:
        yield
    except (TrainingError, InputError) as error:
        typer.echo(f"training: {error}", err=True)
        raise typer.Exit(1) from error


@app.callback()
def main() -> None:
    """Train, set operating points, evaluate."""


@app.command()
def fit(
    data: Data,
    out: Annotated[Path, typer.Option(help="Directory of this run; an interrupted fit goes on where it stopped.")],
    recipe: Annotated[Path, typer.Option(help="What to fit and how.", exists=True, dir_okay=False)] = DEFAULT,
) -> None:
    """Fit a network; writes model.keras, history-*.csv and training.json."""
    from training.recipe import read_recipe
    from training.run import fit_run

    with _errors_told():
        typer.echo(f"Wrote {fit_run(data, out, read_recipe(recipe))}")


Run = Annotated[Path, typer.Argument(help="Directory of a finished fit.", exists=True, file_okay=False)]


@app.command()
def thresholds(run: Run, data: Data) -> None:
    """Fit the operating points on the validation films; writes operating_points.json."""
    from training import run as runs

    with _errors_told():
        typer.echo(f"Wrote {runs.fit_operating_points(run, data)}")


@app.command()
def evaluate(
    run: Run,
    data: Data,
    part: Annotated[str, typer.Option(help="validation or test; a look at test is put on record.")] = "validation",
) -> None:
    """Measure ROC-AUC with intervals, one view and six; writes evaluation-<part>.json."""
    from training import run as runs

    if part not in ("validation", "test"):
        raise typer.BadParameter(f"expected validation or test, got {part!r}", param_hint="--part")
    with _errors_told():
        typer.echo(runs.evaluate_run(run, data, part).read_text())


if __name__ == "__main__":
    app()
