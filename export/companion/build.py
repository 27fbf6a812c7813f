"""The companion graph of a network: from its features to the maps of all its labels."""

import onnx
from onnx import GraphProto, ModelProto, helper

from export.companion.features import Layout, find_features, named_features
from export.companion.head import Head, cut_head
from export.companion.maps import METHODS, Method, write_maps
from export.companion.nodes import IR_VERSION, OPSET, batch_of
from export.companion.reverse import write_gradient, write_gradients
from export.companion.writer import Writer, described

#: The names that the graphs give to what they compute.
MAPS, GRADIENT = "maps", "gradient"


def companion(
    model: ModelProto,
    method: Method = "layercam",
    *,
    features: str | None = None,
    logits: str = "logits",
    layout: Layout | None = None,
) -> ModelProto:
    """Write the graph that computes a network's class activation maps from its features.

    The head of the network, from the features to the logits, is differentiated in reverse, in one pass for all labels,
    and the gradient is written as ONNX beside it.

    Parameters
    ----------
    model : ModelProto
        The network, with a batch as the first axis of every tensor that depends on the image.
    method : {'layercam', 'gradcam'}
        See `export.companion.maps.Method`.
    features : str, optional
        Name of the tensor that the maps are computed from; by default the last one with positions that every logit
        depends on, and depends on the image only through.
    logits : str
        Name of the tensor (N, labels) before the last activation.
    layout : {'channels_last', 'channels_first'}, optional
        Of the features; by default as the operators before them have it, or channels last.

    Returns
    -------
    ModelProto
        features (N, h, w, K) or (N, K, h, w) float32, by their name in the network → ``maps`` (N, labels, h, w)
        float32, not normalised.

    Raises
    ------
    NoCompanion
        No features have positions, the logits depend on other tensors besides, or an operator has no rule; the
        message names it.
    """
    if method not in METHODS:
        raise ValueError(f"expected one of the methods {', '.join(METHODS)}, got {method!r}")
    found = named_features(model, features, layout) if features else find_features(model, logits)
    head = cut_head(model, found.name, logits)
    writer = writer_after(head)
    maps = write_maps(writer, write_gradient(head, writer), found, method)
    writer.expose(maps, MAPS)
    labels = writer.shape(head.logits)[1]
    result = described(MAPS, [batch_of(head.model), labels, *found.grid])
    return checked(writer.finished(head.model.graph.input[0], [result]))


def gradient_graph(head: Head, within: tuple[str, ...] = ()) -> ModelProto:
    """Write the graph that computes ∂logits/∂features, for the oracle.

    Parameters
    ----------
    head : Head
    within : tuple of str
        Tensors of the head by which the gradient is wanted, too.

    Returns
    -------
    ModelProto
        features → ``gradient`` float32, (N, labels, *features without the batch); an axis along which it is the same
        may have the length 1. For each tensor of `within` also itself and its gradient, ``gradient 1`` and so on.
    """
    writer = writer_after(head)
    results = []
    for number, gradient in enumerate(write_gradients(head, writer, (head.features, *within))):
        name = GRADIENT if number == 0 else f"{GRADIENT} {number}"
        writer.expose(gradient, name)
        results.append(described(name, writer.shape(gradient)))
    results += [described(name, writer.shape(name)) for name in within]
    return checked(writer.finished(head.model.graph.input[0], results))


def writer_after(head: Head) -> Writer:
    """Return a writer that goes on where the head ends."""
    return Writer(head.model.graph.node, head.types, head.constants)


def checked(graph: GraphProto) -> ModelProto:
    """Return a graph as a model, without what depends on the machine."""
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    model.producer_name, model.producer_version = "cxr-edge", ""
    onnx.checker.check_model(model, full_check=True)
    return model
