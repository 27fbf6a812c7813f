"""One image as HTML: the image, a heat map that can be faded, and probabilities against their thresholds.

A page that shows `render_image` needs `STYLE` as its style sheet and `script` as a script, once each. The script also
handles images that are added to the page later. The browser draws heat maps from the 7x7 maps, in the same way as
`cxr_edge.model.heatmaps.overlay`.
"""

from base64 import b64encode
from functools import cache
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from cxr_edge.model.heatmaps import COLORMAPS, MAX_OPACITY, WEAK_OPACITY
from cxr_edge.model.provenance import Provenance
from cxr_edge.model.record import ResultRecord
from cxr_edge.model.results import NOTICE
from cxr_edge.outputs.html.picture import ReportImage
from cxr_edge.support.text import printable

_TEMPLATES: Final = Path(__file__).parent / "templates"
STYLE: Final = (_TEMPLATES / "image.css").read_text(encoding="utf-8")

_MODES: Final = {
    "single": "one TTA variant",
    "tta": "averaged over {} TTA variants",
    "adaptive": "adaptive, {} TTA variants evaluated",
}


def render_image(
    record: ResultRecord,
    picture: ReportImage,
    provenance: Provenance,
    *,
    name: str,
    colormap: str = "turbo",
    number: int = 1,
) -> str:
    """Return one image as an HTML ``article``.

    Parameters
    ----------
    record : ResultRecord
    picture : ReportImage
    provenance : Provenance
    name : str
        Name of the image; it is escaped.
    colormap : str
        The initial one of `cxr_edge.model.heatmaps.COLORMAPS`.
    number : int
        Number of the image in the page; its id is ``image-<number>``.

    Returns
    -------
    str
    """
    return (
        templates()
        .get_template("image.html")
        .render(
            name=name,
            number=number,
            record=record,
            rows=_rows(record, provenance),
            picture=picture,
            provenance=provenance,
            mode=_MODES["single" if record.variants == 1 else record.tta_mode].format(record.variants),
            normal=", ".join(f"“{label.name}”" for label in provenance.labels if not label.is_finding),
            colormap=colormap,
            colormaps=list(COLORMAPS),
            opacity=round(100 * MAX_OPACITY),
            notice=NOTICE,
        )
    )


@cache
def templates() -> Environment:
    """Return the templates: values are escaped, and a missing value is an error."""
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
    """Return the script that draws heat maps; it contains the colour maps."""
    levels = np.arange(256, dtype=np.uint8)[:, None]
    colours = {
        name: b64encode(cv2.applyColorMap(levels, code)[:, 0, ::-1].tobytes()).decode()
        for name, code in COLORMAPS.items()
    }
    return templates().get_template("image.js").render(colours=colours, weak=WEAK_OPACITY / MAX_OPACITY)


def _rows(record: ResultRecord, provenance: Provenance) -> list[dict[str, Any]]:
    """Return all labels in the order of the image's table: positive findings, other findings, other labels."""
    found = {finding.label: finding for finding in record.findings}
    rows = [
        {
            "label": label.name,
            "map": place,
            "probability": record.probabilities[label.name],
            "is_finding": label.is_finding,
            "threshold": provenance.thresholds[label.name] if label.is_finding else None,
            "positive": label.name in found and found[label.name].positive,
            "std": found[label.name].std if label.name in found else None,
        }
        for place, label in enumerate(provenance.labels)
    ]
    return sorted(rows, key=lambda row: (not row["is_finding"], not row["positive"], -row["probability"]))
