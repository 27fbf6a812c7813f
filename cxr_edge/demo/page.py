"""The demo's page: its controls, and what they do."""

from pathlib import Path
from typing import Any, Final, cast

import gradio as gr

from cxr_edge.demo.answer import Upload, alert, answer
from cxr_edge.demo.forgetting import IMAGE_SECONDS, UPLOAD_SECONDS
from cxr_edge.demo.samples import samples
from cxr_edge.errors import InputError
from cxr_edge.images.files import read_bytes
from cxr_edge.images.limits import MEBIBYTE
from cxr_edge.model.manifest import Manifest
from cxr_edge.model.model import Model
from cxr_edge.model.results import NOTICE
from cxr_edge.outputs.html.image import STYLE, script

TITLE: Final = "Chest radiograph findings"

_DEMO_STYLE: Final = (Path(__file__).parent / "demo.css").read_text(encoding="utf-8")
_DEMO_SCRIPT: Final = (Path(__file__).parent / "demo.js").read_text(encoding="utf-8")
_NOTHING_YET: Final = '<p class="demo-took">Upload an image or choose a sample.</p>'
_NO_IMAGE: Final = (
    '<p class="demo-took" role="status">No image is loaded, or it has been removed: upload one, or choose a sample.</p>'
)
_INTRODUCTION: Final = (
    f'<div class="demo-head"><h1>{TITLE}</h1><p><strong>{NOTICE}</strong> '
    "A model of {count} labels{maps}; the model card below describes its training data. "
    "Expect errors.</p></div>"
)


def head(max_upload: int) -> str:
    """Return the HTML of the page's head: styles, scripts, and the check for uploads over `max_upload` bytes."""
    return (
        f'<meta name="robots" content="noindex"><style>{STYLE}{_DEMO_STYLE}</style><script>{script()}</script>'
        f'<script data-most="{max_upload}">{_DEMO_SCRIPT}</script>'
    )


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
        Images processed at the same time.

    Returns
    -------
    gradio.Blocks
    """
    images = samples()
    manifest = model.manifest

    def show(upload: Upload | None, mode: str, point: str) -> str:
        return _NO_IMAGE if upload is None else answer(model, upload, mode, point)

    def take_upload(path: str | None, mode: str, point: str) -> tuple[Any, ...]:
        if path is None:
            return gr.skip(), gr.skip(), gr.skip(), gr.skip()
        try:
            upload = Upload(Path(path).name, read_bytes(path, max_upload))
        except InputError as error:
            return None, alert("The upload cannot be read", f"{error.code}: {error}"), None, None
        return upload, show(upload, mode, point), None, None

    def take_sample(name: str | None, mode: str, point: str) -> tuple[Any, ...]:
        if name is None:
            return gr.skip(), gr.skip()
        upload = Upload(f"{name}.png", images[name].read_bytes())
        return upload, show(upload, mode, point)

    with gr.Blocks(title=f"{TITLE}: research only", analytics_enabled=False) as page:
        gr.HTML(
            _INTRODUCTION.format(
                count=len(model.labels), maps=", with a heat map of each" if model.manifest.maps else ""
            ),
            js_on_load=None,
            apply_default_css=False,
        )
        held = gr.State(None)
        with gr.Row():
            file = gr.File(
                label=f"Upload an image: PNG, JPEG or DICOM, at most {max_upload // MEBIBYTE} MiB", height=170
            )
            with gr.Column():
                sample = gr.Dropdown(
                    list(images),
                    value=None,
                    label="Or choose a sample: real images of NIH ChestX-ray14 (NIH Clinical Center)",
                    visible=bool(images),
                )
                point = gr.Radio(
                    list(manifest.operating_points),
                    value=manifest.default_operating_point,
                    label="Operating point (set of thresholds)",
                )
                mode = gr.Radio(_modes(manifest), value=manifest.tta.default_mode, label="Test-time augmentation (TTA)")
        shown = gr.HTML(_NOTHING_YET, js_on_load=None, apply_default_css=False, elem_id="shown")
        with gr.Accordion("Model card", open=False):
            gr.Markdown(card)
        gr.HTML(
            '<p class="demo-took">An upload is kept in a private temporary folder of this server for '
            f"{UPLOAD_SECONDS // 60} minutes. The image stays in memory while this page is open, for at most "
            f"{IMAGE_SECONDS // 60} minutes after the last change. Do not upload images of patients to a server that "
            "is not yours.</p>",
            js_on_load=None,
            apply_default_css=False,
        )
        bound: dict[str, Any] = {
            "api_visibility": "private", "concurrency_limit": concurrency, "concurrency_id": "images",
            "show_progress": "minimal", "show_progress_on": shown,
        }  # fmt: skip
        file.upload(take_upload, [file, mode, point], [held, shown, file, sample], **bound)
        sample.input(take_sample, [sample, mode, point], [held, shown], **bound)
        gr.on([mode.input, point.input], show, [held, mode, point], shown, **bound)
    return cast(gr.Blocks, page)  # Gradio's own types lose it


def _modes(manifest: Manifest) -> list[tuple[str, str]]:
    """Return the TTA modes that all operating points have, as (text, mode) pairs."""
    modes = [(f"all {len(manifest.tta.variants)} variants", "tta"), ("the unchanged image", "single")]
    if all(point.adaptive is not None for point in manifest.operating_points.values()):
        modes.append(("adaptive", "adaptive"))
    return modes
