"""Nodes of a graph by operator, as stored and as ONNX Runtime optimises it, so that a lost fusion is visible.

The optimisation level is EXTENDED, whose fusions do not depend on the CPU. The blocked layout that the level ALL adds
depends on it; its loss would show in the instructions, which would double.
"""

import tempfile
from collections import Counter
from pathlib import Path

import onnx
import onnxruntime


def count_nodes(graph: bytes) -> dict[str, int]:
    """Count the nodes of a serialised ONNX graph by operator type, as it is stored."""
    return dict(sorted(Counter(node.op_type for node in onnx.load_from_string(graph).graph.node).items()))


def optimised(graph: bytes) -> bytes:
    """Let ONNX Runtime optimise a serialised graph for the CPU, level EXTENDED."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch, "optimised.onnx")
        options.optimized_model_filepath = str(path)
        onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        return path.read_bytes()
