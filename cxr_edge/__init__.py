"""Chest X-ray inference at the edge: from a radiograph to findings with their evidence.

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
    HeatmapUnavailable,
    InputError,
    OutputError,
    UnknownOperatingPoint,
    UnknownPrecision,
)
from cxr_edge.images.limits import InputLimits
from cxr_edge.model.evaluation import Evaluation
from cxr_edge.model.labels import Code, Label
from cxr_edge.model.model import Model, load
from cxr_edge.model.provenance import Provenance
from cxr_edge.model.results import NOTICE, Finding, InputFailure, Result
from cxr_edge.model.settings import Settings
from cxr_edge.model.study import StudyImage, StudyResult, predict_study
from cxr_edge.support.warnings import CodedWarning

__all__ = [
    "NOTICE",
    "BundleError",
    "Code",
    "CodedWarning",
    "CxrEdgeError",
    "DeviceFailed",
    "DeviceUnavailable",
    "EngineError",
    "Evaluation",
    "Finding",
    "HeatmapNotComputed",
    "HeatmapUnavailable",
    "InputError",
    "InputFailure",
    "InputLimits",
    "Label",
    "Model",
    "OutputError",
    "Provenance",
    "Result",
    "Settings",
    "StudyImage",
    "StudyResult",
    "UnknownOperatingPoint",
    "UnknownPrecision",
    "__version__",
    "load",
    "predict_study",
]
