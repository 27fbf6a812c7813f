"""The command line: parse arguments, call the SDK, print results."""

import warnings
from typing import Annotated

import typer

import cxr_edge
from cxr_edge.cli.bench import bench
from cxr_edge.cli.demo import demo
from cxr_edge.cli.doctor import doctor
from cxr_edge.cli.engine import engine_app
from cxr_edge.cli.infer import infer
from cxr_edge.cli.node import node_app
from cxr_edge.cli.streams import Commands

app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # boxes cut long names at 80 columns, also in pipes
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(infer)
app.command()(doctor)
app.command()(bench)
app.command(short_help="Show the model in the browser.")(demo)
app.add_typer(engine_app, name="engine")
app.add_typer(node_app, name="node", short_help="Receive images, infer, and deliver results to archives.")


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"cxr-edge {cxr_edge.__version__}")
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[  # noqa: ARG001 - its callback prints it
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Chest X-ray findings with heat maps, on the hardware of an edge box.

    A research tool, not a medical device: not for diagnosis.
    """
    warnings.filterwarnings("ignore", module="pydicom")  # what matters in a header is reported with its image
