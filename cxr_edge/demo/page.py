"""The demo's page: what a person can choose, and what happens then."""

from contextlib import suppress
from pathlib import Path
from typing import Any, Final, cast

import gradio as gr

from cxr_edge.demo.answer import ADAPTIVE, ONE, SIX, Upload, alert, answer
from cxr_edge.demo.samples import samples
from cxr_edge.errors import InputError
from cxr_edge.inputs import read_bytes
from cxr_edge.model import Model
from cxr_edge.reading import MEBIBYTE
from cxr_edge.report.film import STYLE, script
from cxr_edge.results import NOTICE

TITLE: Final = "Chest film findings"
#: Seconds after which a film that nobody looks at is forgotten.
FORGOTTEN_AFTER: Final = 600

_DEMO_STYLE: Final = (Path(__file__).parent / "demo.css").read_text(encoding="utf-8")
_NOTHING_YET: Final = '<p class="demo-took">Upload a film or take a sample.</p>'
_INTRODUCTION: Final = (
    f'<div class="demo-head"><h1>{TITLE}</h1><p><strong>{NOTICE}</strong> '
    "A model of 15 labels, with a heat map of each. "
    "It was fitted on a small part of one hospital system's films: expect it to be wrong.</p></div>"
)


def head() -> str:
    """Give what the page's head needs to show films."""
    return f'<meta name="robots" content="noindex"><style>{STYLE}{_DEMO_STYLE}</style><script>{script()}</script>'


def build(model: Model, card: str, max_upload: int, concurrency: int) -> gr.Blocks:
    """Lay out the page.

    Parameters
    ----------
    model : Model
        Shared by all visitors.
    card : str
        The bundle's model card, Markdown.
    max_upload : int
        Bytes.
    concurrency : int
        Films in work at the same time.

    Returns
    -------
    gradio.Blocks
    """
    films = samples()
    manifest = model.manifest

    def show(upload: Upload | None, views: str, point: str) -> str:
        return _NOTHING_YET if upload is None else answer(model, upload, views, point)

    def take_upload(path: str | None, views: str, point: str) -> tuple[Any, ...]:
        if path is None:
            return gr.skip(), gr.skip(), gr.skip(), gr.skip()
        try:
            upload = Upload(Path(path).name, read_bytes(path, max_upload))
        except InputError as error:
            return None, alert("The upload cannot be read", f"{error.code}: {error}"), None, None
        finally:
            _forget(Path(path))
        return upload, show(upload, views, point), None, None

    def take_sample(name: str | None, views: str, point: str) -> tuple[Any, ...]:
        if name is None:
            return gr.skip(), gr.skip()
        upload = Upload(f"{name}.png", films[name].read_bytes())
        return upload, show(upload, views, point)

    with gr.Blocks(title=f"{TITLE}: research only", analytics_enabled=False, delete_cache=(60, 60)) as page:
        gr.HTML(_INTRODUCTION, js_on_load=None, apply_default_css=False)
        held = gr.State(None, time_to_live=FORGOTTEN_AFTER)
        with gr.Row():
            file = gr.File(label=f"Upload a film: PNG, JPEG or DICOM, at most {max_upload // MEBIBYTE} MiB", height=140)
            with gr.Column():
                sample = gr.Dropdown(
                    list(films),
                    value=None,
                    label="Or take a sample: real films of NIH ChestX-ray14 (NIH Clinical Center)",
                    visible=bool(films),
                )
                point = gr.Radio(
                    list(manifest.operating_points),
                    value=manifest.default_operating_point,
                    label="Operating point: which thresholds",
                )
                views = gr.Radio(_views(model), value=_default_views(model), label="Test-time augmentation")
        shown = gr.HTML(_NOTHING_YET, js_on_load=None, apply_default_css=False, elem_id="shown")
        with gr.Accordion("Model card", open=False):
            gr.Markdown(card)
        gr.HTML(
            '<p class="demo-took">A film stays in the memory of this server while its page is open, for '
            f"{FORGOTTEN_AFTER // 60} minutes at most; none is written down. Upload no films of patients to a server "
            "that is not yours.</p>",
            js_on_load=None,
            apply_default_css=False,
        )
        bound: dict[str, Any] = {
            "api_visibility": "private", "concurrency_limit": concurrency, "concurrency_id": "films",
            "show_progress": "minimal", "show_progress_on": shown,
        }  # fmt: skip
        file.upload(take_upload, [file, views, point], [held, shown, file, sample], **bound)
        sample.input(take_sample, [sample, views, point], [held, shown], **bound)
        gr.on([views.input, point.input], show, [held, views, point], shown, **bound)
    return cast(gr.Blocks, page)  # Gradio's own types lose it


def _forget(path: Path) -> None:
    """Remove an upload, and the folder that was made for it."""
    path.unlink(missing_ok=True)
    with suppress(OSError):  # another upload may lie in it
        path.parent.rmdir()


def _views(model: Model) -> list[str]:
    adaptive = all(point.adaptive is not None for point in model.manifest.operating_points.values())
    return [SIX, ONE, ADAPTIVE] if adaptive else [SIX, ONE]


def _default_views(model: Model) -> str:
    return ONE if model.manifest.default_view_mode == "single" else SIX
