"""NVIDIA's ONNX parser: whether it accepts the whole graph, and which nodes it refuses."""

from dataclasses import dataclass
from typing import Any

from cxr_edge.backends.tensorrt.library import Library
from cxr_edge.errors import ModelRefused


@dataclass(frozen=True)
class Refusal:
    """A node that the parser does not accept.

    Attributes
    ----------
    operator, node, reason : str
    """

    operator: str
    node: str
    reason: str

    def __str__(self) -> str:
        return f"{self.operator} {self.node or '(without a name)'}: {self.reason}"


def refusals(library: Library, onnx: bytes) -> list[Refusal]:
    """Ask the parser about every node.

    Parameters
    ----------
    library : Library
    onnx : bytes
        The serialised graph.

    Returns
    -------
    list of Refusal
        Empty where the whole graph is accepted.
    """
    with _Parsing(library) as parsing:
        taken = parsing.parser.supports_model_v2(onnx)
        found = _errors(parsing.parser)
    if taken or found:
        return found
    return [Refusal("the graph", "", library.last_error())]


def parsed(library: Library, onnx: bytes) -> "_Parsing":
    """Parse a graph for a build.

    Returns
    -------
    context manager
        With ``builder``, ``network`` and ``parser``, released in the order TensorRT needs.

    Raises
    ------
    ModelRefused
        The message names every node that is refused.
    """
    parsing = _Parsing(library)
    if not parsing.parser.parse(onnx):
        found = _errors(parsing.parser) or [Refusal("the graph", "", library.last_error())]
        parsing.__exit__()
        raise ModelRefused(
            f"{library.name} {library.version} refuses {'1 node' if len(found) == 1 else f'{len(found)} nodes'}: "
            f"{'; '.join(map(str, found))}; "
            "export the model with operators that it supports, or run the model on cuda"
        )
    return parsing


class _Parsing:
    """A builder with an empty network and its parser. Deleted in any other order, they crash the interpreter."""

    def __init__(self, library: Library) -> None:
        trt = library.module
        self.builder = trt.Builder(library.logger)
        # Needed on TensorRT 10, ignored on 11 and RTX, where every network is strongly typed.
        flags = 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
        self.network = self.builder.create_network(flags)
        self.parser = trt.OnnxParser(self.network, library.logger)

    def __enter__(self) -> "_Parsing":
        return self

    def __exit__(self, *raised: object) -> None:
        del self.parser
        del self.network
        del self.builder


def _errors(parser: Any) -> list[Refusal]:
    found = (parser.get_error(index) for index in range(parser.num_errors))
    return list(dict.fromkeys(Refusal(e.node_operator(), e.node_name(), " ".join(e.desc().split())) for e in found))
