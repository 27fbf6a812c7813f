"""The demo as a server: a model loaded once, a private folder for uploads that goes with it."""

import atexit
import os
import shutil
import signal
import socket
import sys
import tempfile
import threading
import time
from pathlib import Path
from types import FrameType
from typing import Any, Final, NoReturn

from cxr_edge.backends import Resources
from cxr_edge.demo.forgetting import Forgetting
from cxr_edge.errors import DemoUnavailable, how_to_get
from cxr_edge.images.limits import MEBIBYTE, InputLimits
from cxr_edge.model.bundle import MODEL_CARD, read_bundle
from cxr_edge.model.model import Model
from cxr_edge.support.loopback import is_loopback
from cxr_edge.support.parallel import usable_cores

DEFAULT_MAX_UPLOAD: Final = 32 * MEBIBYTE
#: Images that may wait, and visitors whose image is remembered.
QUEUE, VISITORS = 16, 16
#: What a form adds to its file.
_FORM: Final = MEBIBYTE

_upload_folder: str | None = None


def demo(
    bundle: str | os.PathLike[str] | None = None,
    *,
    device: str = "auto",
    precision: str | None = None,
    max_upload: int = DEFAULT_MAX_UPLOAD,
    concurrency: int = 1,
) -> "Demo":
    """Load a model and lay out the demo's page; `Demo.launch` opens it.

    In the main thread, SIGTERM ends the process from here on as `sys.exit` does, so that no upload stays behind.

    Parameters
    ----------
    bundle, device, precision
        As for `cxr_edge.load`.
    max_upload : int
        Most bytes of an image.
    concurrency : int
        Images in work at the same time; they share the cores.

    Returns
    -------
    Demo

    Raises
    ------
    DemoUnavailable
        The extra ``demo`` is not installed.
    BundleError, DeviceUnavailable, UnknownPrecision
        As for `cxr_edge.load`.
    ValueError
        `max_upload` is below 1 MiB, or `concurrency` below 1.
    """
    if max_upload < MEBIBYTE or concurrency < 1:
        raise ValueError(f"expected max_upload of at least {MEBIBYTE} and concurrency of at least 1")
    folder = _prepare_gradio()
    opened = read_bundle(bundle)
    # Between two visitors nobody needs busy cores.
    resources = Resources(threads=max(1, usable_cores() // concurrency), spinning=False)
    model = Model(opened, device, precision, resources, InputLimits(max_file_bytes=max_upload))
    from cxr_edge.demo.page import build

    card = opened.files[MODEL_CARD].decode() if MODEL_CARD in opened.files else "This bundle has no model card."
    return Demo(build(model, card, max_upload, concurrency), max_upload, folder)


class Demo:
    """The demo's page over a loaded model. Made by `demo`."""

    def __init__(self, page: Any, max_upload: int, folder: Path) -> None:
        self._page, self._max_upload, self._folder = page, max_upload, folder
        self._forgetting: Forgetting | None = None

    def launch(
        self, host: str | None = None, port: int | None = None, *, open_browser: bool = False, block: bool = True
    ) -> str:
        """Serve the page.

        Parameters
        ----------
        host : str, optional
            ``127.0.0.1`` if left out, or what ``GRADIO_SERVER_NAME`` says, as a hosted Space sets it.
        port : int, optional
            The first free one from 7860 on if left out, or what ``GRADIO_SERVER_PORT`` says.
        open_browser : bool
        block : bool
            Return only when the server ends.

        Returns
        -------
        str
            The page's address.

        Raises
        ------
        DemoUnavailable
            The port or address cannot be had.
        """
        from gradio import themes
        from starlette.middleware import Middleware

        from cxr_edge.demo.bounds import Bounds
        from cxr_edge.demo.page import head

        if port is not None:
            _try_address(host or "127.0.0.1", port)
        local = is_loopback(host or os.environ.get("GRADIO_SERVER_NAME", "127.0.0.1"))
        bounds = Middleware(Bounds, most=self._max_upload + _FORM, folder=self._folder, local=local)
        self._page.queue(max_size=QUEUE)
        try:
            _, address, _ = self._page.launch(
                server_name=host,
                server_port=port,
                inbrowser=open_browser,
                prevent_thread_lock=True,
                quiet=True,
                share=False,
                ssr_mode=False,
                pwa=False,
                enable_monitoring=False,
                run_history=False,
                footer_links=[],
                max_file_size=self._max_upload,
                state_session_capacity=VISITORS,
                theme=themes.Base(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"]),
                head=head(self._max_upload),
                app_kwargs={"middleware": [bounds]},
            )
        except OSError as error:
            raise DemoUnavailable(f"no port is free ({error}); end what listens there") from error
        self._forgetting = Forgetting(self._page.state_holder, self._folder)
        if block:
            self.wait()
        return str(address)

    def wait(self) -> None:
        """Return when the server ends, or on Ctrl-C with KeyboardInterrupt."""
        while self._page.is_running:
            time.sleep(0.2)

    def close(self) -> None:
        """End the server, and forget what it held."""
        self._page.close()
        if self._forgetting is not None:
            self._forgetting.end()


def _try_address(host: str, port: int) -> None:
    """Say why an address cannot be had: Gradio would call all reasons a port in use."""
    try:
        with socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET):
            pass
    except OSError as error:
        reason = str(error.strerror).partition(" (while")[0]
        raise DemoUnavailable(
            f"{host} port {port} cannot be listened on ({reason}); choose another port by --port, another "
            "address by --host, or end what listens there"
        ) from error


def _prepare_gradio() -> Path:
    """Import Gradio so that it keeps to itself: it tells nobody of this, and writes into a folder that goes with us."""
    global _upload_folder
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    if _upload_folder is None:
        _upload_folder = tempfile.mkdtemp(prefix="cxr-edge-demo-")
        os.environ["GRADIO_TEMP_DIR"] = _upload_folder
        atexit.register(shutil.rmtree, Path(_upload_folder), ignore_errors=True)
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, _end)
    try:
        import gradio  # noqa: F401
    except ImportError as error:
        raise DemoUnavailable(f"the demo needs the package {error.name}; {how_to_get('demo')}") from error
    return Path(_upload_folder)


def _end(_signal: int, _frame: FrameType | None) -> NoReturn:
    """End on SIGTERM as on Ctrl-C: by default Python would leave at once, and uploads stay."""
    sys.exit(0)
