"""Exit statuses, options and error output that the commands share."""

from pathlib import Path
from typing import Annotated, Final, NoReturn

import msgspec
import typer

from cxr_edge.backends import DEVICE_NAMES
from cxr_edge.errors import CxrEdgeError
from cxr_edge.model.bundle import MANIFEST, SHIPPED
from cxr_edge.support.text import printable

SOME_FAILED: Final = 1
USAGE: Final = 2
NO_MODEL_OR_DEVICE: Final = 3
INTERRUPTED: Final = 130


def directory(text: str) -> Path:
    """Parse the path of a directory."""
    if not text:
        raise typer.BadParameter("an empty path; is a shell variable unset?")
    return Path(text)


def devices() -> tuple[str, ...]:
    """Return the completions of ``--device`` for a shell."""
    return DEVICE_NAMES


def operating_points() -> list[str]:
    """Return the completions of ``--operating-point`` for a shell: those of the shipped bundle."""
    return list(msgspec.json.decode((SHIPPED / MANIFEST).read_bytes())["operating_points"])


def given(context: typer.Context, option: str) -> bool:
    """Return whether an option was given on the command line, even with its default value."""
    source = context.get_parameter_source(option)
    return source is not None and source.name == "COMMANDLINE"


BundleOption = Annotated[
    Path | None,
    typer.Option(parser=directory, metavar="DIR", show_default="the shipped one", help="Model bundle."),
]
DeviceOption = Annotated[
    str, typer.Option(metavar="NAME", autocompletion=devices, help=f"One of {', '.join(DEVICE_NAMES)}.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON on standard output, and nothing else there.")]


def fail(error: CxrEdgeError, status: int) -> NoReturn:
    """Print an error as one line, and exit with a status."""
    typer.echo(f"cxr-edge: {error.code}: {printable(str(error))}", err=True)
    raise typer.Exit(status) from error
