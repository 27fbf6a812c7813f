"""Chest X-ray inference at the edge: a radiograph goes in, findings with their evidence come out.

>>> import cxr_edge
>>> model = cxr_edge.load()
>>> result = model.predict("chest.png", tta=True, heatmaps=True)

A research tool, not a medical device: not for diagnosis.
"""

from cxr_edge._version import __version__
from cxr_edge.errors import (
    BundleError,
    CxrEdgeError,
    DeviceFailed,
    DeviceUnavailable,
    EngineError,
    HeatmapNotComputed,
    InputError,
    OutputError,
    UnknownOperatingPoint,
    UnknownPrecision,
)
from cxr_edge.labels import DISEASES, LABELS, NO_FINDING
from cxr_edge.model import Model, load
from cxr_edge.reading import Reading
from cxr_edge.results import NOTICE, Finding, InputFailure, Result

__all__ = [
    "DISEASES",
    "LABELS",
    "NOTICE",
    "NO_FINDING",
    "BundleError",
    "CxrEdgeError",
    "DeviceFailed",
    "DeviceUnavailable",
    "EngineError",
    "Finding",
    "HeatmapNotComputed",
    "InputError",
    "InputFailure",
    "Model",
    "OutputError",
    "Reading",
    "Result",
    "UnknownOperatingPoint",
    "UnknownPrecision",
    "__version__",
    "load",
]
