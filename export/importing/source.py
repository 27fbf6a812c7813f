"""A classifier made elsewhere, before it is a bundle, and what its user knows of it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from onnx import ModelProto

from cxr_edge.model.network import InputFormat
from training.labels import LabelSet


class Range(NamedTuple):
    """The values that a network takes for black and white."""

    black: float
    white: float


@dataclass(frozen=True)
class Conventions:
    """What a file does not tell of its model.

    Attributes
    ----------
    labels : tuple of str or None
        In the order of the outputs; None for an output that is left out.
    normal : tuple of str
        Those that mean the absence of findings.
    values : Range or None
        For an input of floating-point numbers.
    mean, deviation : tuple of float
        What is subtracted from the values, and what they are divided by: for each channel, or for all.
    size : (int, int) or None
        Height and width in pixels, where the model takes any.
    fit : str
        See `cxr_edge.model.network.InputFormat`.
    output : str or None
        Name of the output with a number for each label, where the model has several.
    ends : str or None
        What these numbers are, where the last operator does not tell.
    features : str or None
        Name of the tensor that heat maps are computed from; by default it is searched.
    """

    labels: tuple[str | None, ...]
    normal: tuple[str, ...] = ()
    values: Range | None = None
    mean: tuple[float, ...] = (0.0,)
    deviation: tuple[float, ...] = (1.0,)
    size: tuple[int, int] | None = None
    fit: Literal["stretch", "crop"] = "stretch"
    output: str | None = None
    ends: Literal["logits", "probabilities", "softmax"] | None = None
    features: str | None = None


@dataclass(frozen=True, eq=False)
class Imported:
    """A classifier in the form of a bundle's network.

    Attributes
    ----------
    network : ModelProto
        image (N, H, W) uint8 → probabilities and logits (N, labels) float32.
    oracle : callable
        Pre-processed images, (N, H, W) uint8 → probabilities (N, labels), by the model as it came.
    labels : LabelSet
    input : InputFormat
    features : str or None
        Name of the tensor with positions, within the network, that heat maps are computed from; None for the search.
    origin : dict
        Where the model comes from, for the manifest and the card: its file, hash, framework, versions; and how its
        input and output were read.
    notes : tuple of str
        What its user may not have meant.
    """

    network: ModelProto
    oracle: Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.floating[Any]]]
    labels: LabelSet
    input: InputFormat
    features: str | None
    origin: dict[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
