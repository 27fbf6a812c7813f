"""What the commands of ``python -m export`` share: errors in one line, and names."""

from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec
import typer

from cxr_edge.model.labels import Name

if TYPE_CHECKING:
    from export.heatmaps import MapMethod as Method

#: The images of the repository, for parity gates.
SAMPLES: Final = Path(__file__).parent.parent / "samples"


class MapMethod(str, Enum):
    """How heat maps are computed."""

    layercam = "layercam"
    gradcam = "gradcam"
    fine = "fine"
    none = "none"

    @property
    def method(self) -> "Method | None":
        """As `export.heatmaps.with_maps` takes it; None for no maps."""
        return None if self is MapMethod.none else self.value


@contextmanager
def errors_reported() -> Iterator[None]:
    """Report an error that the user can mend in one line; others keep their traceback."""
    from cxr_edge.errors import CxrEdgeError
    from export.errors import ExportError
    from training.errors import TrainingError, how_to_get

    try:
        yield
    except ModuleNotFoundError as error:
        typer.echo(f"export: {how_to_get(error)}", err=True)
        raise typer.Exit(1) from error
    except (ExportError, CxrEdgeError, TrainingError) as error:
        typer.echo(f"export: {error}", err=True)
        raise typer.Exit(1) from error


def valid_name(name: str, option: str) -> str:
    """Return the name of a model; raise `typer.BadParameter` where it is none."""
    try:
        return msgspec.convert(name, Name)
    except msgspec.ValidationError as error:
        raise typer.BadParameter(f"{name!r} is not a valid name: {error}", param_hint=option) from error
