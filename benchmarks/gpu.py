"""Every device and precision: does it work, are its results the same, how fast is it: ``python -m benchmarks.gpu``.

Results are compared with float32 on the CPU over the repository's samples, for one TTA variant and for all, with heat
maps. Latencies are measured in the same run, interleaved. TensorRT engines are built first.
"""

import json
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final

import numpy as np
import numpy.typing as npt
import typer
from rich.console import Console
from rich.table import Table

from benchmarks.images import SAMPLES
from benchmarks.measure import interleaved, machine, summary
from cxr_edge.backends import Resources
from cxr_edge.backends.nvidia import find_gpu
from cxr_edge.backends.tensorrt.build import Settings
from cxr_edge.backends.tensorrt.library import load_library
from cxr_edge.backends.tensorrt.store import build_stored
from cxr_edge.diagnostics.doctor import examine
from cxr_edge.errors import DeviceUnavailable
from cxr_edge.images import read_image
from cxr_edge.model.bundle import Bundle, read_bundle
from cxr_edge.model.graphs import open_graphs
from cxr_edge.model.model import Model
from cxr_edge.support.cache import VARIABLE
from cxr_edge.support.parallel import usable_cores
from export.maps import map_agreement

REFERENCE: Final = ("cpu", "fp32")
CANDIDATES: Final = (
    ("cuda", "fp32"),
    ("cuda", "fp16"),
    ("tensorrt", "fp16"),
    ("tensorrt", "fp32"),
    ("tensorrt-ep", "fp16"),
    ("cpu", "fp16"),
    ("cpu", "int8"),
    ("openvino", "fp32"),
    ("openvino", "bf16"),
)
#: Batch sizes that are timed besides that of all TTA variants.
BATCHES: Final = (1, 32)


@dataclass(frozen=True)
class Answers:
    """Calibrated probabilities of one TTA variant and of all, (N, labels) each, and the maps, (N, labels, h, w)."""

    single: npt.NDArray[np.float64]
    tta: npt.NDArray[np.float64]
    maps: npt.NDArray[np.float32] | None


def main(
    rounds: Annotated[int, typer.Option(min=1, help="Rounds of the timing.")] = 30,
    engines: Annotated[
        bool, typer.Option("--engines/--no-engines", help="Build TensorRT engines first, in a temporary cache.")
    ] = True,
    slow: Annotated[bool, typer.Option("--slow", help="Include tensorrt-ep, which compiles for minutes.")] = False,
    root: Annotated[
        Path | None, typer.Option("--bundle", metavar="DIR", help="Model bundle.", show_default="the shipped one")
    ] = None,
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Write everything here as JSON.")] = None,
) -> None:
    """Check and time the bundle on every device and in every precision.

    Exit status 3 if there is no GPU; all others are measured all the same.
    """
    with tempfile.TemporaryDirectory(prefix="cxr-edge-engines-") as cache:
        if engines:
            os.environ[VARIABLE] = cache
        found = _check(read_bundle(root), rounds, engines=engines, slow=slow)
    _print(found)
    if out is not None:
        out.write_text(json.dumps(found, indent=1) + "\n")
    try:
        find_gpu()
    except DeviceUnavailable as error:
        typer.echo(f"No GPU was checked: {error}", err=True)
        raise typer.Exit(3) from error


def _check(bundle: Bundle, rounds: int, *, engines: bool, slow: bool) -> dict[str, Any]:
    # Sessions whose threads spin would take cores from the one that is timed.
    resources = Resources(threads=usable_cores(), spinning=False)
    images = [read_image(path).pixels for path in sorted(SAMPLES.glob("*.png"))]
    expected = _answers(Model(bundle, *REFERENCE, resources), images)
    rows: dict[str, dict[str, Any]] = {}
    for device, precision in CANDIDATES:
        if device == "tensorrt-ep" and not slow:
            continue
        try:
            if device == "tensorrt" and engines:
                _build_engines(bundle, precision)
            model = Model(bundle, device, precision, resources)
            rows[f"{device}:{precision}"] = {"works": True, **_agreement(expected, _answers(model, images))}
        except Exception as error:  # a failure of one device must not end the measurement of the others
            rows[f"{device}:{precision}"] = {"works": False, "why": f"{type(error).__name__}: {error}"}
    times = _times(bundle, [name for name, row in rows.items() if row["works"]], resources, rounds)
    doctor = examine(bundle, [])
    return {
        "machine": machine(),
        "bundle": bundle.identity,
        "doctor": {key: doctor[key] for key in ("machine", "packages", "problems", "gpu", "cuda")},
        "images": len(images),
        "rows": rows,
        "times": times,
    }


def _answers(model: Model, images: list[npt.NDArray[np.uint8]]) -> Answers:
    settings = model.settings(tta=True, heatmaps=model.manifest.maps is not None)
    results = [model.decide(model.evaluate(image, settings), settings) for image in images]
    maps = [result.maps for result in results if result.maps is not None]
    return Answers(
        single=np.array([model.predict(image, tta=False).values for image in images]),
        tta=np.array([result.values for result in results]),
        maps=np.stack(maps) if maps else None,
    )


def _agreement(expected: Answers, found: Answers) -> dict[str, Any]:
    return {
        "max |Δp| single": float(np.abs(found.single - expected.single).max()),
        "max |Δp| tta": float(np.abs(found.tta - expected.tta).max()),
        "maps": None if expected.maps is None or found.maps is None else map_agreement(expected.maps, found.maps),
    }


def _build_engines(bundle: Bundle, precision: str) -> None:
    settings = Settings(find_gpu().architecture)
    library = load_library()
    for name in bundle.manifest.graph_files(precision):
        build_stored(library, name, bundle.files[name], precision, settings)


def _times(bundle: Bundle, names: list[str], resources: Resources, rounds: int) -> dict[str, Any]:
    """Time the network alone, from array to probabilities, by batch size."""
    tensors = bundle.manifest.tensors
    runtimes = {":".join(REFERENCE): REFERENCE, **{name: tuple(name.split(":")) for name in names}}
    graphs = {name: open_graphs(bundle, *runtime, resources).networks[0].network for name, runtime in runtimes.items()}
    batches = sorted({*BATCHES, len(bundle.manifest.tta.variants)})
    noise = np.random.default_rng(0).integers(0, 256, (batches[-1], *bundle.manifest.input.size), dtype=np.uint8)
    times = {}
    for batch in batches:
        feeds = {tensors.image: noise[:batch]}
        candidates = {
            name: lambda graph=graph, feeds=feeds: graph.run([tensors.probabilities], feeds)  # type: ignore[misc]
            for name, graph in graphs.items()
        }
        times[str(batch)] = summary(interleaved(candidates, rounds, warm_up=3), baseline=":".join(REFERENCE))
    return times


def _print(found: dict[str, Any]) -> None:
    gpu = found["doctor"]["gpu"]
    title = f"{gpu['name']}, {gpu['architecture']}" if gpu["found"] else "no GPU"
    table = Table(
        "runtime",
        "max |Δp| one / all TTA variants",
        "maps: median r, same cell",
        *(f"ms, batch {batch}" for batch in found["times"]),
        title=f"{found['images']} images; {title}; {found['machine']['processor']}",
    )
    reference = ":".join(REFERENCE)
    for name, row in {reference: None, **found["rows"]}.items():
        if row is not None and not row["works"]:
            continue
        agreement = (
            ("", "")
            if row is None
            else (
                f"{row['max |Δp| single']:.1e} / {row['max |Δp| tta']:.1e}",
                "none"
                if row["maps"] is None
                else f"{row['maps']['correlation_median']:.4f}, {row['maps']['same_strongest_cell']:.1%}",
            )
        )
        timed = (times[name] for times in found["times"].values())
        table.add_row(name, *agreement, *(f"{t['median_ms']:.2f} (x{t['ratio']:.2f})" for t in timed))
    console = Console()
    console.print(table)
    for name, row in found["rows"].items():
        if not row["works"]:
            console.print(f"{name} does not work here: {row['why']}", markup=False, highlight=False)


if __name__ == "__main__":
    typer.run(main)
