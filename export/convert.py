"""From a Keras model to the graphs of a bundle."""

from dataclasses import dataclass

import keras

from export.heatmaps import MapMethod, with_maps
from export.network_graph import network_graph


@dataclass(frozen=True)
class Graphs:
    """The serialised ONNX graphs of one precision.

    Attributes
    ----------
    model : bytes
        The network.
    maps : bytes or None
        The companion that computes its maps.
    """

    model: bytes
    maps: bytes | None


def convert(network: keras.Model, method: MapMethod | None) -> Graphs:
    """Convert a float32 model, and write its companion.

    Raises
    ------
    NoCompanion
        The head has none; with None for the method it needs none.
    """
    model = network_graph(network)
    if method is None:
        return Graphs(model.SerializeToString(), None)
    model, maps = with_maps(model, method)
    return Graphs(model.SerializeToString(), maps.SerializeToString())
