"""The demo's answer to one image, as HTML: findings and heat maps, or the error."""

import time
from dataclasses import dataclass

from markupsafe import Markup

from cxr_edge.errors import DeviceFailed, InputError
from cxr_edge.model.model import Model
from cxr_edge.outputs.analysis import Analyser
from cxr_edge.outputs.html.image import render_image
from cxr_edge.outputs.html.picture import ReportImage


@dataclass(frozen=True)
class Upload:
    """An image as it was uploaded; held in memory only, while its page is open.

    Attributes
    ----------
    name : str
    data : bytes
    """

    name: str
    data: bytes


def answer(model: Model, upload: Upload, mode: str, operating_point: str) -> str:
    """Analyse an image and render the answer.

    Parameters
    ----------
    model : Model
    upload : Upload
    mode : str
        ``single``, ``tta`` or ``adaptive``.
    operating_point : str

    Returns
    -------
    str
        HTML. For an image that cannot be used, the error code and message.
    """
    started = time.perf_counter()
    settings = model.settings(
        tta=mode != "single",
        adaptive=mode == "adaptive",
        operating_point=operating_point,
        heatmaps=model.manifest.maps is not None,
    )
    try:
        analysis = Analyser.of(model, settings, ()).analyse(upload.data, upload.name, path=upload.name)
    except (InputError, DeviceFailed) as error:
        return alert(f"{upload.name} cannot be read", f"{error.code}: {error}")
    took = time.perf_counter() - started
    result = analysis.result
    picture = ReportImage.of(analysis.image.pixels, result)
    shown = render_image(result.record(), picture, analysis.provenance, name=upload.name)
    many = "" if result.variants == 1 else "s"
    explained = "" if result.maps is None else f" and explained for all {len(result.labels)} labels"
    text = (
        f"Decoded, evaluated in {result.variants} TTA variant{many}{explained} "
        f"in {1000 * took:.0f} ms on {model.device} ({model.precision})."
    )
    return shown + str(Markup('<p class="demo-took" role="status">{}</p>').format(text))


def alert(what: str, why: str) -> str:
    """Return an error as HTML that stays in the page and that screen readers announce."""
    return str(Markup('<div class="demo-alert" role="alert"><strong>{}.</strong> {}</div>').format(what, why))
