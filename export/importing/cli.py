"""The command line of imports: ``python -m export import onnx FILE``, ``keras``, ``torch``, ``torchxrayvision``."""

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from export.command_line import SAMPLES, MapMethod, errors_reported, valid_name

if TYPE_CHECKING:
    from export.importing.source import Conventions, Imported
    from export.importing.torch_model import Weights

app = typer.Typer(no_args_is_help=True, help="Make a bundle of a classifier that was made elsewhere.")


class Fit(str, Enum):
    """How an image is fitted to the input."""

    stretch = "stretch"
    crop = "crop"


class Ends(str, Enum):
    """What the outputs are, where the graph does not tell; softmax: logits of labels that exclude each other."""

    logits = "logits"
    probabilities = "probabilities"
    softmax = "softmax"


File = Annotated[Path, typer.Argument(metavar="FILE", help="The model.", exists=True, dir_okay=False)]
Out = Annotated[Path, typer.Option(metavar="DIR", help="The bundle; replaced only when the new one is complete.")]
Labels = Annotated[
    str,
    typer.Option(metavar="A,B,C", help="Names of the outputs, in their order; A,,C leaves the second one out."),
]
Normal = Annotated[list[str] | None, typer.Option(metavar="NAME", help="A label that means no finding; repeatable.")]
Values = Annotated[
    str | None,
    typer.Option("--range", metavar="BLACK,WHITE", help="What the input takes for black and white: 0,1 or 0,255 …"),
]
Mean = Annotated[str, typer.Option(metavar="M or R,G,B", help="Then subtracted.")]
Deviation = Annotated[str, typer.Option("--std", metavar="S or R,G,B", help="Then divided by.")]
Size = Annotated[int | None, typer.Option(min=32, max=1024, help="Side in pixels, where the model takes any.")]
HowFitted = Annotated[Fit, typer.Option(help="Stretch the whole image to the input, or crop its middle.")]
OutputName = Annotated[str | None, typer.Option("--output", metavar="NAME", help="Which output has the labels.")]
WhatEnds = Annotated[
    Ends | None,
    typer.Option(
        "--ends",
        help="What the output is, where its last operator does not tell; softmax: logits of labels that exclude each "
        "other.",
    ),
]
FeaturesName = Annotated[
    str | None,
    typer.Option("--features", metavar="NAME", help="Heat maps' tensor.", show_default="the last with positions"),
]
Thresholds = Annotated[
    Path | None,
    typer.Option(
        metavar="CSV", help="Columns label and threshold.", show_default="0.5 for all", exists=True, dir_okay=False
    ),
]
Maps = Annotated[
    MapMethod, typer.Option(help="Heat maps by LayerCAM, by Grad-CAM, of twice the cells (slow), or none.")
]
Images = Annotated[
    Path, typer.Option(metavar="DIR", help="Real images for the gates.", exists=True, show_default="samples")
]
ModelName = Annotated[str | None, typer.Option("--name", help="Of the model.", show_default="the name of FILE")]
WeightsFile = Annotated[
    Path | None, typer.Option("--weights", metavar="FILE", help="The weights.", exists=True, dir_okay=False)
]
Sha256 = Annotated[str | None, typer.Option("--sha256", metavar="HASH", help="Of the weights.")]
Online = Annotated[bool, typer.Option("--online", help="Leave the network on for code and weights of others.")]
Version = Annotated[str, typer.Option(help="Version of the model.")]


@app.command("onnx")
def import_onnx(
    file: File,
    labels: Labels,
    out: Out,
    normal: Normal = None,
    values: Values = None,
    mean: Mean = "0",
    deviation: Deviation = "1",
    size: Size = None,
    fit: HowFitted = Fit.stretch,
    output: OutputName = None,
    ends: WhatEnds = None,
    features: FeaturesName = None,
    thresholds: Thresholds = None,
    maps: Maps = MapMethod.layercam,
    images: Images = SAMPLES,
    name: ModelName = None,
    version: Version = "0.1.0",
) -> None:
    """Make a bundle of an ONNX classifier.

    Its input may be grey or RGB, channels first or last, float or uint8. The bundle takes grey levels and does the rest
    in its graph. Where the head can be differentiated, it has heat maps. Its probabilities are compared with those of
    the file on real images; over a tolerance, nothing is written.

    For example:

      python -m export import onnx model.onnx --labels "Effusion,Mass" --range 0,1 --out my-bundle
    """
    with errors_reported():
        from export.importing.onnx_model import read_onnx
        from export.importing.thresholds import read_thresholds

        how = _conventions(labels, normal, values, (mean, deviation), size, fit, output, ends, features)
        imported = read_onnx(file, how)
        limits = read_thresholds(thresholds, imported.labels)
        _publish(imported, (name or file.stem, version), limits, maps, images, out)


@app.command("keras")
def import_keras(
    file: File,
    labels: Labels,
    out: Out,
    normal: Normal = None,
    values: Values = None,
    mean: Mean = "0",
    deviation: Deviation = "1",
    size: Size = None,
    fit: HowFitted = Fit.stretch,
    ends: WhatEnds = None,
    features: FeaturesName = None,
    thresholds: Thresholds = None,
    maps: Maps = MapMethod.layercam,
    images: Images = SAMPLES,
    name: ModelName = None,
    version: Version = "0.1.0",
) -> None:
    """Make a bundle of a Keras classifier, a .keras file; as `onnx` does with the graph that tf2onnx makes of it.

    The bundle's probabilities are compared with those of Keras. A file with code of its own (lambdas, custom layers) is
    not loaded.

    For example:

      python -m export import keras model.keras --labels "Effusion,Mass" --range 0,255 --out my-bundle
    """
    with errors_reported():
        from export.importing.keras_model import read_keras
        from export.importing.thresholds import read_thresholds

        how = _conventions(labels, normal, values, (mean, deviation), size, fit, None, ends, features)
        imported = read_keras(file, how)
        limits = read_thresholds(thresholds, imported.labels)
        _publish(imported, (name or file.stem, version), limits, maps, images, out)


@app.command("torch")
def import_torch(
    model: Annotated[str, typer.Argument(metavar="MODULE:FUNCTION", help="A function that returns the module.")],
    labels: Labels,
    out: Out,
    size: Annotated[int, typer.Option(min=32, max=1024, help="Side of the input in pixels.")],
    values: Annotated[str, typer.Option("--range", metavar="BLACK,WHITE", help="What the module takes for them.")],
    channels: Annotated[int, typer.Option(min=1, max=3, help="Of the input: 1 or 3.")] = 3,
    weights: WeightsFile = None,
    sha256: Sha256 = None,
    online: Online = False,
    normal: Normal = None,
    mean: Mean = "0",
    deviation: Deviation = "1",
    fit: HowFitted = Fit.stretch,
    ends: WhatEnds = None,
    features: FeaturesName = None,
    thresholds: Thresholds = None,
    maps: Maps = MapMethod.layercam,
    images: Images = SAMPLES,
    name: ModelName = None,
    version: Version = "0.1.0",
) -> None:
    """Make a bundle of a PyTorch classifier.

    The function is called without arguments, or with the path of the weights if it takes one; otherwise the weights are
    loaded as a state dict. It runs in a process of its own without the network. The bundle is compared with PyTorch.

    For example:

      python -m export import torch mine:network --labels "Effusion,Mass" --size 224 --range 0,1 --out my-bundle
    """
    if channels == 2 or ":" not in model:
        raise typer.BadParameter(f"expected MODULE:FUNCTION and 1 or 3 channels, got {model} and {channels}")
    with errors_reported():
        from export.importing.thresholds import read_thresholds
        from export.importing.torch_model import read_torch

        how = _conventions(labels, normal, values, (mean, deviation), size, fit, None, ends, features)
        imported = read_torch(model, how, channels, _weights(weights, sha256), images, online=online)
        limits = read_thresholds(thresholds, imported.labels)
        _publish(imported, (name or model.partition(":")[2], version), limits, maps, images, out)


@app.command("torchxrayvision")
def import_torchxrayvision(
    model: Annotated[str, typer.Argument(metavar="NAME", help="Such as densenet121-res224-all or jfhealthcare.")],
    out: Out,
    weights: WeightsFile = None,
    sha256: Sha256 = None,
    random: Annotated[bool, typer.Option("--random", help="Without weights: random ones, to try the way.")] = False,
    online: Online = False,
    maps: Maps = MapMethod.layercam,
    images: Images = SAMPLES,
    name: ModelName = None,
    version: Version = "0.1.0",
) -> None:
    """Make a bundle of a model of torchxrayvision, with the thresholds that it publishes.

    Fetch the weights from the package's releases and name them with --weights and --sha256: they are pickles, which can
    run code, so they are read in a process of its own without the network. The probabilities are the sigmoids of the
    logits, not the package's rescaled outputs.

    For example:

      python -m export import torchxrayvision densenet121-res224-all --weights all.pt --sha256 … --out xrv-bundle
    """
    if (weights is None) != random:
        raise typer.BadParameter("expected --weights with --sha256, or --random")
    with errors_reported():
        from export.importing.thresholds import with_default
        from export.importing.torch_model import read_torchxrayvision

        imported, published = read_torchxrayvision(model, _weights(weights, sha256), images, online=online)
        limits = with_default(published, imported.labels, "as torchxrayvision publishes them (op_threshs)")
        _publish(imported, (name or model, version), limits, maps, images, out)


def _weights(file: Path | None, sha256: str | None) -> "Weights | None":
    from export.importing.torch_model import Weights

    if (file is None) != (sha256 is None):
        raise typer.BadParameter("expected --weights and --sha256 together", param_hint="--weights")
    return None if file is None or sha256 is None else Weights(file, sha256)


def _conventions(
    labels: str,
    normal: list[str] | None,
    values: str | None,
    scaled: tuple[str, str],
    size: int | None,
    fit: Fit,
    output: str | None,
    ends: Ends | None,
    features: str | None,
) -> "Conventions":
    from export.importing.source import Conventions, Range

    black_white = None if values is None else _numbers(values, "--range")
    if black_white is not None and (len(black_white) != 2 or black_white[0] == black_white[1]):
        raise typer.BadParameter(f"expected two different numbers, got {values!r}", param_hint="--range")
    mean, deviation = (_numbers(text, option) for text, option in zip(scaled, ("--mean", "--std"), strict=True))
    if not all(number > 0 for number in deviation):
        raise typer.BadParameter(f"expected numbers above 0, got {scaled[1]!r}", param_hint="--std")
    return Conventions(
        labels=tuple(label.strip() or None for label in labels.split(",")),
        normal=tuple(normal or ()),
        values=None if black_white is None else Range(*black_white),
        mean=mean,
        deviation=deviation,
        size=None if size is None else (size, size),
        fit=fit.value,
        output=output,
        ends=None if ends is None else ends.value,
        features=features,
    )


def _numbers(text: str, option: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError as error:
        raise typer.BadParameter(f"expected numbers separated by commas, got {text!r}", param_hint=option) from error


def _publish(
    imported: "Imported",
    identity: tuple[str, str],
    thresholds: tuple[dict[str, float], str],
    maps: MapMethod,
    images: Path,
    out: Path,
) -> None:
    """Write the bundle of a name and version, with thresholds and what they come from, and tell what it has."""
    from export.importing.publish import Details, publish_import

    name, version = identity
    for part in ("input", "output"):
        typer.echo(f"{part.capitalize()}: {imported.origin[part]}")
    for note in imported.notes:
        typer.echo(f"Note: {note}", err=True)
    written = publish_import(
        imported, Details(valid_name(name, "--name"), version, *thresholds, maps.method), images, out
    )
    typer.echo(f"Largest difference to the model as it came: {written.difference:.1e}")
    for note in written.notes:
        typer.echo(f"Note: {note}", err=True)
    if written.features is not None:
        typer.echo(f"Heat maps: {maps.value}, from {written.features!r}")
    if written.no_maps:
        typer.echo(f"No heat maps: {written.no_maps}", err=True)
    typer.echo(f"Wrote {out}")
