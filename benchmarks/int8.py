"""Accuracy and speed of int8, by how much of the network is quantised: ``python -m benchmarks.int8 DATA``.

Only validation images are used. Each setting is compared with float32 as the gate does it.
"""

import json
from pathlib import Path
from typing import Annotated, Any

import onnx
import typer

from benchmarks.measure import interleaved, machine, summary
from cxr_edge.backends import open_graph
from cxr_edge.model.bundle import Bundle, read_bundle
from cxr_edge.model.tta import make_variants
from export.gate import LIMITS, Runtime, answers, compare, verdict
from export.int8 import to_int8
from export.variants import REFERENCE, Made, calibration_images, exact_graphs, with_variant
from training.data.nih import read_dataset
from training.evaluation.evaluate import part_of_split
from training.evaluation.resampling import Bootstrap
from training.labels import LabelSet

#: Number of pointwise convolutions left in float32, and percentile at which activations are clipped.
SETTINGS = ((0, 100.0), (0, 99.99), (0, 99.9), (10, 99.99), (14, 99.99), (14, 99.9), (18, 99.99), (22, 99.99))


def main(
    data: Annotated[Path, typer.Argument(help="The data set the bundle was trained on, or a cache.", exists=True)],
    rounds: Annotated[int, typer.Option(min=1, help="Rounds of the timing.")] = 15,
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the figures here as JSON.")] = None,
) -> None:
    """Quantise, apply the gate on validation images, and time all TTA variants of an image against float32."""
    bundle = read_bundle()
    images, _ = part_of_split(bundle, read_dataset(data, LabelSet.of(bundle.manifest.labels)), "validation")
    ((exact, *companion),) = exact_graphs(bundle)
    network = onnx.load_from_string(exact)
    observed = calibration_images(images, bundle.manifest.input)
    expected = answers(bundle, REFERENCE, images)
    tried, graphs = [], {"float32": exact}
    for skipped, percentile in SETTINGS:
        name = f"{skipped} in float32, clipped at {percentile:g} %"
        graphs[name] = to_int8(network, observed, skipped, percentile).SerializeToString()
        made = ((graphs[name], *companion),)
        judged = with_variant(bundle, "int8", Made("int8", made, made))
        figures = compare(
            judged.manifest, expected, answers(judged, Runtime("cpu", "int8"), images), images, Bootstrap(200)
        )
        tried.append(
            {"setting": name, **_short(verdict(figures, LIMITS["int8"])), "megabytes": len(graphs[name]) / 1e6}
        )
        typer.echo(json.dumps(tried[-1]), err=True)
    text = json.dumps(
        {
            "machine": machine(),
            "bundle": bundle.identity,
            "tried": tried,
            "times": _times(bundle, graphs, observed[0], rounds),
        },
        indent=2,
    )
    typer.echo(text)
    if out is not None:
        out.write_text(text + "\n")


def _short(figures: dict[str, Any]) -> dict[str, Any]:
    modes = figures["tta_modes"]
    return {
        "passes": not figures["over_limits"],
        "change of mean AUC": {mode: changes["mean_auc"] for mode, changes in modes.items()},
        "flips": {mode: round(changes["flips"]["all"], 5) for mode, changes in modes.items()},
        "max |Δp|": {mode: round(changes["probability"]["max"], 4) for mode, changes in modes.items()},
        "same strongest cell": figures["maps"] and round(figures["maps"]["same_strongest_cell"], 4),
    }


def _times(bundle: Bundle, graphs: dict[str, bytes], image: Any, rounds: int) -> dict[str, Any]:
    """Time all TTA variants of an image, one thread."""
    names = bundle.manifest.tensors
    feeds = {names.image: make_variants(image, bundle.manifest.tta.variants)}
    opened = {name: open_graph(graph) for name, graph in graphs.items()}
    candidates = {
        name: lambda graph=graph: graph.run([names.probabilities], feeds)  # type: ignore[misc]
        for name, graph in opened.items()
    }
    return summary(interleaved(candidates, rounds), baseline="float32")


if __name__ == "__main__":
    typer.run(main)
