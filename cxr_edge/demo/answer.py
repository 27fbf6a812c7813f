"""One film's answer, as HTML: its findings and heat maps, or what was wrong with it in words."""

import time
from dataclasses import dataclass

from markupsafe import Markup

from cxr_edge import images
from cxr_edge.errors import DeviceFailed, InputError
from cxr_edge.model import Model
from cxr_edge.report.film import Basis, render_film
from cxr_edge.report.picture import FilmPicture

#: What can be evaluated of a film, in words.
SIX, ONE, ADAPTIVE = "six views", "one view", "adaptive"


@dataclass(frozen=True)
class Upload:
    """A film as it came: held in memory while its page is open, and nowhere else.

    Attributes
    ----------
    name : str
    data : bytes
    """

    name: str
    data: bytes


def answer(model: Model, upload: Upload, views: str, operating_point: str) -> str:
    """Say what a film shows.

    Parameters
    ----------
    model : Model
    upload : Upload
    views : str
        `SIX`, `ONE` or `ADAPTIVE`.
    operating_point : str

    Returns
    -------
    str
        HTML. A film that cannot be used is answered with its code and message.
    """
    started = time.perf_counter()
    try:
        film = images.decode(upload.data, model.reading)
        result = model.predict_film(
            film,
            path=upload.name,
            tta=views != ONE,
            adaptive=views == ADAPTIVE,
            heatmaps=True,
            operating_point=operating_point,
        )
    except (InputError, DeviceFailed) as error:
        return alert(f"{upload.name} cannot be read", f"{error.code}: {error}")
    took = time.perf_counter() - started
    basis = Basis.of(model, result.view_mode, operating_point)
    shown = render_film(result.to_dict(), FilmPicture.of(film.pixels, result), basis, name=upload.name)
    told = "Decoded, evaluated in {} view{} and explained for all {} labels in {:.0f} ms on {} ({})."
    many = "" if result.views == 1 else "s"
    told = told.format(result.views, many, len(result.labels), 1000 * took, model.device, model.precision)
    return shown + str(Markup('<p class="demo-took" role="status">{}</p>').format(told))


def alert(what: str, why: str) -> str:
    """Tell an error so that it stays in the page, and a screen reader says it."""
    return str(Markup('<div class="demo-alert" role="alert"><strong>{}.</strong> {}</div>').format(what, why))
