"""One film as a person sees it: picture, heat map that can be faded, probabilities against their thresholds.

A page that shows `render_film` needs `STYLE` as its style sheet and `script` as a script, once. The script takes up
every film that appears in the page, also later. Heat maps are drawn in the browser from the 7x7 maps, as
`cxr_edge.gradcam.overlay` draws them.
"""

from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from cxr_edge._version import __version__
from cxr_edge.gates import tell_gate
from cxr_edge.gradcam import COLORMAPS, MAX_OPACITY
from cxr_edge.labels import NO_FINDING
from cxr_edge.manifest import Evaluated, ViewMode
from cxr_edge.model import Model
from cxr_edge.report.picture import FilmPicture
from cxr_edge.results import NOTICE
from cxr_edge.text import printable

_TEMPLATES: Final = Path(__file__).parent / "templates"
STYLE: Final = (_TEMPLATES / "film.css").read_text(encoding="utf-8")

_VIEWS: Final = {"single": "one view", "tta": "averaged over {} views", "adaptive": "adaptive, {} views evaluated"}


@dataclass(frozen=True)
class Basis:
    """What the findings of a run rest on.

    Attributes
    ----------
    model : str
        Identity of the bundle.
    bundle_sha256 : str
    device, precision : str
    gate : str
        What that precision was measured at.
    operating_point : str
    thresholds : dict
        Label → threshold.
    fitted_on : str
        What the thresholds were fitted on.
    calibrated_on : str
        The same of the calibration; empty where raw probabilities are emitted.
    version : str
        Of cxr-edge.
    """

    model: str
    bundle_sha256: str
    device: str
    precision: str
    gate: str
    operating_point: str
    thresholds: Mapping[str, float]
    fitted_on: str
    calibrated_on: str
    version: str = __version__

    @classmethod
    def of(cls, model: Model, view_mode: Evaluated, operating_point: str) -> "Basis":
        """Gather it from a model.

        Raises
        ------
        UnknownOperatingPoint
        """
        manifest = model.manifest
        mode: ViewMode = "single" if view_mode == "single" else "tta"
        thresholds = manifest.thresholds(operating_point, mode)
        point = manifest.operating_points[operating_point]
        gate = manifest.gate(model.precision)
        return cls(
            model=model.identity,
            bundle_sha256=model.bundle_sha256,
            device=model.device,
            precision=model.precision,
            gate="computed by the device itself, behind no gate" if gate is None else tell_gate(gate, mode),
            operating_point=operating_point,
            thresholds=thresholds,
            fitted_on=(point.single if mode == "single" else point.tta).fitted_on,
            calibrated_on=manifest.calibration.fitted_on,
        )


def render_film(
    line: Mapping[str, Any],
    picture: FilmPicture,
    basis: Basis,
    *,
    name: str,
    colormap: str = "turbo",
    number: int = 1,
) -> str:
    """Give one film as an HTML ``article``.

    Parameters
    ----------
    line : mapping
        Its result line, as of `Result.to_dict`.
    picture : FilmPicture
    basis : Basis
    name : str
        What the film is called; shown, never run.
    colormap : str
        One of `cxr_edge.gradcam.COLORMAPS`, at first.
    number : int
        Its identity in the page, ``film-1``.

    Returns
    -------
    str
    """
    return (
        templates()
        .get_template("film.html")
        .render(
            name=name,
            number=number,
            line=line,
            rows=_rows(line, basis.thresholds),
            picture=picture,
            basis=basis,
            views=_VIEWS[line["view_mode"]].format(line["views"]),
            colormap=colormap,
            colormaps=list(COLORMAPS),
            opacity=round(100 * MAX_OPACITY),
            notice=NOTICE,
        )
    )


@cache
def templates() -> Environment:
    """Give the templates: what is put into them is escaped, and what they lack is an error."""
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["printable"] = printable
    environment.filters["base64"] = lambda data: b64encode(data).decode()
    return environment


@cache
def script() -> str:
    """Give the script that draws heat maps, with the colour maps in it."""
    levels = np.arange(256, dtype=np.uint8)[:, None]
    colours = {
        name: b64encode(cv2.applyColorMap(levels, code)[:, 0, ::-1].tobytes()).decode()
        for name, code in COLORMAPS.items()
    }
    return templates().get_template("film.js").render(colours=colours)


def _rows(line: Mapping[str, Any], thresholds: Mapping[str, float]) -> list[dict[str, Any]]:
    """Give all labels as the film's table shows them: positive ones, the others, and "No Finding" last."""
    found = {finding["label"]: finding for finding in line["findings"]}
    order = list(line["probabilities"])
    rows = [
        {
            "label": label,
            "map": order.index(label),
            "probability": probability,
            "threshold": None if label == NO_FINDING else thresholds[label],
            "positive": label in found and found[label]["positive"],
            "std": found[label]["std"] if label in found else None,
        }
        for label, probability in line["probabilities"].items()
    ]
    return sorted(rows, key=lambda row: (row["label"] == NO_FINDING, not row["positive"], -row["probability"]))
