"""The network's time, operator by operator, on one thread: ``python -m benchmarks.engine_profile``.

ONNX Runtime's own profiler times every node. Products (convolutions, Gemm) are compared with the matrix product of one
core: their rate is what the network could reach at most if nothing else took time.
"""

import json
import math
import statistics
import tempfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final

import numpy as np
import typer

from benchmarks.baselines.flops import count_flops
from benchmarks.baselines.sgemm import Sgemm
from benchmarks.images import SAMPLES, find_images
from benchmarks.measure import interleaved, machine
from cxr_edge.backends.onnxruntime import load_runtime
from cxr_edge.images import read_image
from cxr_edge.model.bundle import read_bundle
from cxr_edge.model.preprocess import preprocess

WARM_UP: Final = 10
PRODUCTS: Final = frozenset({"Conv", "FusedConv", "Gemm", "FusedGemm", "MatMul", "FusedMatMul"})

Event = Mapping[str, Any]


def main(
    runs: Annotated[int, typer.Option(min=1, help="Runs of one image.")] = 200,
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the figures here as JSON.")] = None,
) -> None:
    """Print which operators take the network's time, and which share of one core's matrix product it can reach."""
    bundle = read_bundle()
    name = bundle.manifest.default_variant
    image = preprocess(read_image(find_images(SAMPLES)[0]).pixels, bundle.manifest.input.size)
    graph = bundle.files[bundle.manifest.variant(name).model]
    tensors = bundle.manifest.tensors
    rows = operators(profile(graph, tensors.probabilities, {tensors.image: image[np.newaxis]}, runs), runs)
    figures = {
        "machine": machine(),
        "bundle": bundle.identity,
        "precision": name,
        "runs": runs,
        "operators": rows,
        **shares(rows, count_flops(graph) / 1e6, _sgemm()),
    }
    typer.echo(markdown(figures))
    if out is not None:
        out.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


def profile(graph: bytes, output: str, feeds: Mapping[str, np.ndarray], runs: int) -> list[Event]:
    """Run a graph on one thread; return the profiler's event of every node in every run after the warm-up."""
    runtime = load_runtime()
    options = runtime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.enable_profiling = True
    with tempfile.TemporaryDirectory(prefix="cxr-edge-profile-") as folder:
        options.profile_file_prefix = str(Path(folder) / "profile")
        session = runtime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        for _ in range(WARM_UP + runs):
            session.run([output], feeds)
        events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    nodes = [e for e in events if e["cat"] == "Node" and e["name"].endswith("_kernel_time")]
    return nodes[WARM_UP * len(nodes) // (WARM_UP + runs) :]


def operators(events: Sequence[Event], runs: int) -> list[dict[str, Any]]:
    """Add up the nodes of each operator: median milliseconds of a run, and GFLOP/s where it is a product."""
    nodes: dict[str, list[Event]] = defaultdict(list)
    for event in events:
        nodes[event["name"]].append(event)
    rows: dict[str, dict[str, Any]] = {}
    for of_node in nodes.values():
        args = of_node[0]["args"]
        kind = args["op_name"] + (", depthwise" if _depthwise(args) else "")
        row = rows.setdefault(kind, {"operator": kind, "nodes": 0, "ms": 0.0, "mflop": 0.0})
        row["nodes"] += len(of_node) // runs
        row["ms"] += statistics.median(e["dur"] for e in of_node) * (len(of_node) // runs) / 1e3
        row["mflop"] += flops(args) / 1e6
    total = sum(row["ms"] for row in rows.values())
    for row in rows.values():
        row |= {"share": row["ms"] / total, "gflops": row["mflop"] / row["ms"] if row["mflop"] else None}
    return sorted(rows.values(), key=lambda row: -row["ms"])


def flops(args: Mapping[str, Any]) -> int:
    """Count 2 for each multiply-add of a node, from the shapes it ran with; 0 if it is not a product."""
    if args["op_name"] not in PRODUCTS:
        return 0
    left, right, result = *_shapes(args["input_type_shape"])[:2], _shapes(args["output_type_shape"])[0]
    return 2 * math.prod(result) * (math.prod(right[1:]) if "Conv" in args["op_name"] else left[-1])


def shares(rows: Sequence[Mapping[str, Any]], mflop: float, sgemm: float) -> dict[str, float]:
    """Return the share of `sgemm` that the whole network reaches, and that it would reach if only products took time.

    Parameters
    ----------
    rows : sequence of mapping
    mflop : float
        Operations of the network as exported. ONNX Runtime executes some percent more, because it pads channels.
    sgemm : float
        GFLOP/s of the matrix product.
    """
    total, products = sum(row["ms"] for row in rows), sum(row["ms"] for row in rows if row["mflop"])
    return {
        "mflop": mflop,
        "sgemm_gflops": sgemm,
        "ms": total,
        "share_of_sgemm": mflop / total / sgemm,
        "share_of_sgemm_if_products_alone": mflop / products / sgemm,
    }


def markdown(figures: Mapping[str, Any]) -> str:
    """Return the table of operators and the shares as Markdown."""
    lines = [
        f"{figures['bundle']} in {figures['precision']} on {figures['machine']['processor']}, one thread, one TTA "
        f"variant; medians of {figures['runs']} runs.",
        "",
        "| operator | nodes | ms | share | GFLOP/s |",
        "|---|---|---|---|---|",
    ]
    for row in figures["operators"]:
        rate = "" if row["gflops"] is None else f"{row['gflops']:.0f}"
        lines.append(f"| {row['operator']} | {row['nodes']} | {row['ms']:.2f} | {row['share']:.1%} | {rate} |")
    return "\n".join(
        [
            *lines,
            "",
            f"One core's sgemm: {figures['sgemm_gflops']:.0f} GFLOP/s. All nodes, {figures['ms']:.2f} ms, reach "
            f"{figures['share_of_sgemm']:.0%} of it; if only products took time, "
            f"{figures['share_of_sgemm_if_products_alone']:.0%}.",
        ]
    )


def _depthwise(args: Mapping[str, Any]) -> bool:
    return "Conv" in args["op_name"] and _shapes(args["input_type_shape"])[1][1] == 1


def _shapes(typed: Sequence[Mapping[str, list[int]]]) -> list[list[int]]:
    return [next(iter(shape.values())) for shape in typed]


def _sgemm() -> float:
    """Return GFLOP/s of one core, the median of seven runs."""
    baseline = Sgemm([])
    return baseline.work / statistics.median(interleaved({"sgemm": baseline.run}, 7)["sgemm"]) / 1e9


if __name__ == "__main__":
    typer.run(main)
