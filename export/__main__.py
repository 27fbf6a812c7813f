"""Command line of the export package: ``python -m export``."""

import json
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from cxr_edge.manifest import Name
from training.files import hash_of_file

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

SAMPLES = Path(__file__).parent.parent / "samples"


@app.command()
def main(
    model: Annotated[Path, typer.Argument(metavar="MODEL.keras", help="A trained model.", exists=True, dir_okay=False)],
    out: Annotated[Path, typer.Option(metavar="DIR", help="The bundle; replaced only when the new one is complete.")],
    decisions: Annotated[
        Path | None, typer.Option(metavar="FILE", show_default="decisions.json beside the model")
    ] = None,
    films: Annotated[Path, typer.Option(metavar="DIR", help="Real films for the parity gate.")] = SAMPLES,
    name: Annotated[
        str | None, typer.Option(help="Name of the model.", show_default="the folder's that MODEL lies in")
    ] = None,
    version: Annotated[str, typer.Option(help="Version of the model.")] = "0.1.0",
) -> None:
    """Export a trained model as a bundle: ONNX graphs, manifest and model card.

    The graphs are held against Keras on real films; over tolerance, nothing is written. Beside
    the model, training.json (its provenance) and notes.md (for the card) are taken along. `python -m export.card`
    writes figures into the card once the bundle is evaluated.
    """
    from cxr_edge.errors import CxrEdgeError
    from export.errors import ExportError
    from export.publish import Description, export

    decided = decisions or model.with_name("decisions.json")
    if not decided.is_file():
        raise typer.BadParameter(
            f"{decided} does not exist; run `python -m training calibrate` first", param_hint="--decisions"
        )
    decisions_read = _read(decided) or {}
    if (told := decisions_read.get("model_sha256")) != hash_of_file(model):
        reason = "was not fitted for this model" if told else "does not tell its model"
        raise typer.BadParameter(
            f"{decided} {reason}; run `python -m training calibrate` again", param_hint="--decisions"
        )
    name = name or model.resolve().parent.name
    try:
        msgspec.convert(name, Name)
    except msgspec.ValidationError as error:
        raise typer.BadParameter(f"{name!r} is no name: {error}", param_hint="--name") from error
    description = Description(
        name=name,
        version=version,
        decisions=decisions_read,
        training=_read(model.with_name("training.json")) or {},
        notes=notes.read_text() if (notes := model.with_name("notes.md")).is_file() else "",
    )
    try:
        written = export(model, description, films, out)
    except (ExportError, CxrEdgeError) as error:
        typer.echo(f"export: {error}", err=True)
        raise typer.Exit(1) from error
    gate = json.loads((written / "manifest.json").read_bytes())["variants"]["fp32"]["gate"]
    typer.echo(f"Wrote {written}. Parity gate: {json.dumps(gate)}")


def _read(path: Path) -> dict[str, Any] | None:
    return json.loads(path.read_bytes()) if path.is_file() else None


if __name__ == "__main__":
    app()
