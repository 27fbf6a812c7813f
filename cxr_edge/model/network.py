"""One network of a bundle: its input, the names of its tensors, its labels, and the files of its graphs."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from cxr_edge import errors
from cxr_edge.model.calibration import Curve
from cxr_edge.model.labels import Name

Side = Annotated[int, Meta(ge=1, le=4096)]


class InputFormat(msgspec.Struct, frozen=True):
    """What a network's image input expects.

    Attributes
    ----------
    size : (int, int)
        Height and width in pixels.
    color, scaling, interpolation : str
        This version knows only the values of `cxr_edge.model.preprocess`: what else a network needs, such as three
        channels, a mean and a deviation, belongs into its graph.
    fit : str
        ``stretch`` the whole image, or ``crop`` its middle; see `cxr_edge.model.preprocess`.
    """

    size: tuple[Side, Side]
    color: Literal["grey"]
    scaling: Literal["0-255"]
    interpolation: Literal["area"]
    fit: Literal["stretch", "crop"]


class Tensors(msgspec.Struct, frozen=True):
    """Names of the graphs' inputs and outputs; `features` exist where maps or rules are computed from them."""

    image: str
    probabilities: str
    logits: str
    features: str
    maps: str


class NetworkMaps(msgspec.Struct, frozen=True):
    """The companion graphs of a network, which compute its heat maps from its features.

    Attributes
    ----------
    graphs : dict
        Variant → file name.
    grid : (int, int)
        Height and width of a map.
    features : str or None
        Name of the tensor that they read; None: that of `Tensors`.
    """

    graphs: dict[str, str]
    grid: tuple[Side, Side]
    features: str | None = None


class Network(msgspec.Struct, frozen=True, kw_only=True):
    """One network: the only one of a bundle, or one of its members.

    Attributes
    ----------
    name : str
    labels : tuple of str
        Names of the bundle's labels that it answers, in the order of its outputs.
    input : InputFormat
    tensors : Tensors
    variants : dict
        Variant → file name of its graph.
    maps : NetworkMaps or None
    weight : float
        Its share in the mean of the log-odds, beside the other members that answer the label.
    calibration : dict or None
        Label → curve that the probabilities of each TTA variant are calibrated by before they are averaged with those
        of other members; None for the only network of a bundle, whose probabilities are averaged with none.
    """

    name: Name
    labels: tuple[str, ...]
    input: InputFormat
    tensors: Tensors
    variants: dict[str, str]
    maps: NetworkMaps | None
    weight: Annotated[float, Meta(gt=0, le=1)]
    calibration: dict[str, Curve] | None

    def files(self, precision: str) -> tuple[str, ...]:
        """Return the files of a precision's graphs: the network, and its companion where there are maps.

        Raises
        ------
        UnknownPrecision
        """
        if precision not in self.variants:
            raise errors.UnknownPrecision(f"expected one of {', '.join(self.variants)}, got {precision!r}")
        return (self.variants[precision], *([] if self.maps is None else [self.maps.graphs[precision]]))


def network_problems(network: Network, variants: set[str], labels: set[str]) -> list[str]:
    """Return what is wrong with a member, given the variants and label names of its bundle."""
    where = f"members: {network.name}"
    problems = []
    if foreign := set(network.labels) - labels:
        problems.append(f"{where} has the labels {', '.join(sorted(foreign))}, which are not among the bundle's")
    if len(set(network.labels)) < len(network.labels):
        problems.append(f"{where}: expected distinct labels")
    if network.calibration is None or (missing := set(network.labels) - set(network.calibration)):
        lacking = network.labels if network.calibration is None else sorted(missing)
        problems.append(f"{where}: calibration lacks a curve for {', '.join(lacking)}")
    graphs = {"variants": network.variants, **({} if network.maps is None else {"maps.graphs": network.maps.graphs})}
    for key, named in graphs.items():
        if set(named) != variants:
            problems.append(f"{where}: expected {key} of {', '.join(sorted(variants))}, got {', '.join(sorted(named))}")
    return problems
